#include "kernel/vm/guest_mem.h"

#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

enum status guest_mem_add(struct guest_mem *mem, gpa_t base, uint64_t size, void *host)
{
    uint64_t last = base.v + size - 1;
    if (size == 0 || last < base.v || !is_aligned(base.v | size, PAGE_SIZE))
        return ERR_INVALID;
    unsigned i = 0;
    while (i < mem->count && mem->region[i].base.v + mem->region[i].size - 1 < base.v)
        i++;
    if (i < mem->count && mem->region[i].base.v <= last)
        return ERR_EXISTS;
    if (mem->count == GUEST_REGIONS_MAX)
        return ERR_NO_SPACE;
    memmove(&mem->region[i + 1], &mem->region[i], (mem->count - i) * sizeof(mem->region[0]));
    mem->region[i] = (struct guest_region){base, size, host};
    mem->count++;
    return STATUS_OK;
}

void *guest_mem_span(const struct guest_mem *mem, gpa_t gpa, uint64_t *available)
{
    uint64_t hidden = mem->hidden_end - PAGE_SIZE; /* without one: where RAM never is */
    if (guest_mem_is_hidden(mem, gpa.v))
        return NULL;
    for (unsigned i = 0; i < mem->count; i++) {
        const struct guest_region *region = &mem->region[i];
        uint64_t offset = gpa.v - region->base.v;
        if (gpa.v >= region->base.v && offset < region->size) {
            *available = region->size - offset;
            if (hidden - gpa.v < *available)
                *available = hidden - gpa.v;
            return region->host + offset;
        }
    }
    return NULL;
}

static bool is_ram(const struct guest_mem *mem, gpa_t gpa, uint64_t size)
{
    while (size > 0) {
        uint64_t available;
        if (guest_mem_span(mem, gpa, &available) == NULL)
            return false;
        if (available >= size)
            return true;
        gpa.v += available;
        size -= available;
    }
    return true;
}

enum status guest_mem_read(const struct guest_mem *mem, gpa_t gpa, void *to, uint64_t size)
{
    for (uint8_t *next = to; size > 0;) {
        uint64_t available;
        const void *from = guest_mem_span(mem, gpa, &available);
        if (from == NULL)
            return ERR_RANGE;
        if (available > size)
            available = size;
        memcpy(next, from, available);
        next += available;
        gpa.v += available;
        size -= available;
    }
    return STATUS_OK;
}

enum status guest_mem_write(const struct guest_mem *mem, gpa_t gpa, const void *from, uint64_t size)
{
    if (!is_ram(mem, gpa, size))
        return ERR_RANGE;
    for (const uint8_t *next = from; size > 0;) {
        uint64_t available;
        void *to = guest_mem_span(mem, gpa, &available);
        if (to == NULL)
            return ERR_RANGE;
        if (available > size)
            available = size;
        memcpy(to, next, available);
        next += available;
        gpa.v += available;
        size -= available;
    }
    return STATUS_OK;
}

/* The host address of a naturally aligned item, which a page-aligned region never splits. */
static enum status locate(const struct guest_mem *mem, gpa_t gpa, unsigned size, void **host)
{
    uint64_t available;
    if (!is_aligned(gpa.v, size))
        return ERR_INVALID;
    *host = guest_mem_span(mem, gpa, &available);
    return *host != NULL ? STATUS_OK : ERR_RANGE;
}

enum status guest_mem_load(const struct guest_mem *mem, gpa_t gpa, unsigned size, uint64_t *value)
{
    void *host;
    enum status status = locate(mem, gpa, size, &host);
    if (status != STATUS_OK)
        return status;
    switch (size) {
    case 1:
        *value = __atomic_load_n((uint8_t *)host, __ATOMIC_ACQUIRE);
        return STATUS_OK;
    case 2:
        *value = __atomic_load_n((uint16_t *)host, __ATOMIC_ACQUIRE);
        return STATUS_OK;
    case 4:
        *value = __atomic_load_n((uint32_t *)host, __ATOMIC_ACQUIRE);
        return STATUS_OK;
    case 8:
        *value = __atomic_load_n((uint64_t *)host, __ATOMIC_ACQUIRE);
        return STATUS_OK;
    }
    return ERR_INVALID;
}

enum status guest_mem_store(const struct guest_mem *mem, gpa_t gpa, unsigned size, uint64_t value)
{
    void *host;
    enum status status = locate(mem, gpa, size, &host);
    if (status != STATUS_OK)
        return status;
    switch (size) {
    case 1:
        __atomic_store_n((uint8_t *)host, (uint8_t)value, __ATOMIC_RELEASE);
        return STATUS_OK;
    case 2:
        __atomic_store_n((uint16_t *)host, (uint16_t)value, __ATOMIC_RELEASE);
        return STATUS_OK;
    case 4:
        __atomic_store_n((uint32_t *)host, (uint32_t)value, __ATOMIC_RELEASE);
        return STATUS_OK;
    case 8:
        __atomic_store_n((uint64_t *)host, value, __ATOMIC_RELEASE);
        return STATUS_OK;
    }
    return ERR_INVALID;
}

#define COMPARE_EXCHANGE(type)                                                                     \
    do {                                                                                           \
        type old = (type)*expected;                                                                \
        *swapped = __atomic_compare_exchange_n((type *)host, &old, (type)desired, false,           \
                                               __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                \
        *expected = old;                                                                           \
    } while (0)

enum status guest_mem_compare_exchange(const struct guest_mem *mem, gpa_t gpa, unsigned size,
                                       uint64_t *expected, uint64_t desired, bool *swapped)
{
    void *host;
    enum status status = locate(mem, gpa, size, &host);
    if (status != STATUS_OK)
        return status;
    switch (size) {
    case 1:
        COMPARE_EXCHANGE(uint8_t);
        return STATUS_OK;
    case 2:
        COMPARE_EXCHANGE(uint16_t);
        return STATUS_OK;
    case 4:
        COMPARE_EXCHANGE(uint32_t);
        return STATUS_OK;
    case 8:
        COMPARE_EXCHANGE(uint64_t);
        return STATUS_OK;
    }
    return ERR_INVALID;
}
