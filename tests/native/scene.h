/* What an instruction of the test meets: segments, and memory in two equal copies. */
#pragma once

#include "tests/native/forms.h"
#include "tests/native/processor.h"

/* Where an instruction runs. */
struct scene {
    enum native_mode mode;
    unsigned code_size; /* 8, 4, 2 */
    uint16_t selector[SEG_GS + 1];
    struct segment segment[SEG_GS + 1]; /* what the selectors stand for */
};

/* New descriptors in the LDT, now and then. */
void scene_draw_descriptors(void);

/* Segments for one case; near: mostly such that offsets of 16 bits reach memory. */
void scene_draw(struct scene *scene, enum native_mode mode, bool near);

/* An offset into a segment for an access of size bytes by addresses of address_size bytes: mostly
 * in memory, often where something ends. */
uint64_t scene_draw_offset(const struct scene *scene, unsigned segment, unsigned address_size,
                           unsigned size);

/* The base that an address in the segment is added to. */
uint64_t scene_base(const struct scene *scene, unsigned segment);

/* Both copies of memory: random values; what lies at linear (false: nothing that can be written); a
 * word there. */
void memory_draw(void);
void memory_draw_around(uint64_t linear, bool uniform);
bool memory_put(uint64_t linear, const void *from, unsigned size);
bool memory_peek(uint64_t linear, uint64_t *value);

/* Whether linear lies on a page that is a device for the emulator. */
bool memory_is_device(uint64_t linear);
/* Inverts the byte in the emulator's copy. */
void memory_spoil(uint64_t linear);

/* The first linear address where the copies differ, 0: none; with the two bytes. */
uint64_t memory_difference(uint8_t *native, uint8_t *emulated);
/* Makes the emulator's copy like the processor's again. */
void memory_repair(void);
