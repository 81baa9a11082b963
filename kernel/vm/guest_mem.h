/*
 * A guest's physical memory as the monitor sees it. The regions never change while the guest runs,
 * so no lock is needed; the bytes belong to the guest, which may change them at any moment on
 * another processor: read what matters once, into memory of one's own.
 */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

#define GUEST_REGIONS_MAX 64

struct guest_region {
    gpa_t base;    /* page aligned */
    uint64_t size; /* bytes, page aligned */
    uint8_t *host; /* the monitor's mapping of it */
};

struct guest_mem {
    struct guest_region region[GUEST_REGIONS_MAX]; /* sorted by base, without overlap */
    unsigned count;
    uint64_t hidden_end;         /* of a page that a device hides, where no RAM is then; 0: none */
    uint64_t rom_base, rom_size; /* of the part that the guest's stores do not reach: a device's */
};

static inline bool guest_mem_is_hidden(const struct guest_mem *mem, uint64_t gpa)
{
    return gpa - (mem->hidden_end - PAGE_SIZE) < PAGE_SIZE;
}

static inline bool guest_mem_is_rom(const struct guest_mem *mem, uint64_t gpa)
{
    return gpa - mem->rom_base < mem->rom_size;
}

/* ERR_INVALID: unaligned, empty or wrapping; ERR_EXISTS: overlap; ERR_NO_SPACE: table full. */
enum status MUST_CHECK guest_mem_add(struct guest_mem *mem, gpa_t base, uint64_t size, void *host);

/* The host address of gpa, and in *available how many bytes follow it in the same region; NULL
 * where there is no RAM. */
void *guest_mem_span(const struct guest_mem *mem, gpa_t gpa, uint64_t *available);

/* Copies of size bytes, over region borders too. ERR_RANGE: not all of it is RAM; then nothing was
 * written to the guest, and to[] is undefined. */
enum status MUST_CHECK guest_mem_read(const struct guest_mem *mem, gpa_t gpa, void *to,
                                      uint64_t size);
enum status MUST_CHECK guest_mem_write(const struct guest_mem *mem, gpa_t gpa, const void *from,
                                       uint64_t size);

/* A naturally aligned access of 1, 2, 4 or 8 bytes, atomic towards the guest's processors.
 * ERR_RANGE: no RAM there; ERR_INVALID: unaligned. */
enum status MUST_CHECK guest_mem_load(const struct guest_mem *mem, gpa_t gpa, unsigned size,
                                      uint64_t *value);
enum status MUST_CHECK guest_mem_store(const struct guest_mem *mem, gpa_t gpa, unsigned size,
                                       uint64_t value);

/* Stores desired where *expected stands, atomically; otherwise *expected becomes what stands there
 * and *swapped is false. Size and errors as above. */
enum status MUST_CHECK guest_mem_compare_exchange(const struct guest_mem *mem, gpa_t gpa,
                                                  unsigned size, uint64_t *expected,
                                                  uint64_t desired, bool *swapped);
