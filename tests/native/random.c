#include "tests/native/random.h"

uint64_t random_seed = 0x9e3779b97f4a7c15;

uint64_t draw_value(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x0f,
                                     0x10,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffffffffffff};
    return one_in(3) ? edges[below(sizeof(edges) / sizeof(edges[0]))] : draw();
}
