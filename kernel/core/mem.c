/* The rest of mem.h; the block operations are in mem_block.asm, so that the compiler cannot turn
 * one into a call of itself. */
#include "kernel/core/mem.h"

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < n; i++)
        if (left[i] != right[i])
            return left[i] - right[i];
    return 0;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t left = (uint8_t)a[i], right = (uint8_t)b[i];
        if (left != right || left == '\0')
            return left - right;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

size_t strlen(const char *s)
{
    const volatile char *end = s; /* volatile: or the loop becomes a call of strlen */
    while (*end != '\0')
        end++;
    return (size_t)(end - s);
}
