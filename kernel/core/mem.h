/* The C library's memory and string functions that freestanding code may use: kernel/core/mem.c
 * implements them for the monitor and the boot program, the C library for host builds. */
#pragma once

#include "kernel/core/types.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
