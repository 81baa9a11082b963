/*
 * Tables that grow as long as there is memory: rows in the order in which they came, with chains by
 * a hash of their keys. One piece of memory holds both, so that a row is found in one access.
 */
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"
#include "vmx/debug_internal.h"

#define ROOM_LEAST 32u

static struct debug_row *row_at(const struct debug_table *table, uint32_t index)
{
    return debug_table_row(table, index);
}

/* Fibonacci hashing: the product's upper bits depend on all of the key's. */
static uint32_t *head_of(const struct debug_table *table, uint64_t key)
{
    return &table->heads[(key * 0x9e3779b97f4a7c15 >> 32) & (table->room - 1)];
}

static uint64_t pages_of(const struct debug_table *table)
{
    uint64_t bytes = (uint64_t)table->room * (table->size + sizeof(uint32_t));
    return align_up(bytes, PAGE_SIZE) / PAGE_SIZE;
}

static void link_row(struct debug_table *table, uint32_t index)
{
    struct debug_row *row = row_at(table, index);
    uint32_t *head = head_of(table, row->key);
    row->next = *head;
    *head = index + 1;
}

void debug_table_index(struct debug_table *table)
{
    if (table->room == 0)
        return;
    memset(table->heads, 0, table->room * sizeof(uint32_t));
    for (uint32_t i = 0; i < table->count; i++)
        link_row(table, i);
}

enum status debug_table_reserve(const struct debug_memory *memory, struct debug_table *table,
                                uint64_t rows)
{
    struct debug_table larger = *table;
    uint64_t room = table->room != 0 ? table->room : ROOM_LEAST;
    while (room < rows && room <= UINT32_MAX / 4)
        room *= 2;
    if (room < rows)
        return ERR_NO_MEMORY;
    if (room == table->room)
        return STATUS_OK;
    larger.room = (uint32_t)room;
    if (memory->take(memory->context, pages_of(&larger), &larger.frames) != STATUS_OK)
        return ERR_NO_MEMORY;
    larger.rows = memory->map(memory->context, larger.frames);
    larger.heads = (uint32_t *)(void *)(larger.rows + room * table->size);
    if (table->count != 0)
        memcpy(larger.rows, table->rows, (size_t)table->count * table->size);
    debug_table_free(memory, table);
    *table = larger;
    debug_table_index(table);
    return STATUS_OK;
}

void *debug_table_add(const struct debug_memory *memory, struct debug_table *table, uint64_t key)
{
    if (debug_table_reserve(memory, table, (uint64_t)table->count + 1) != STATUS_OK)
        return NULL;
    struct debug_row *row = memset(row_at(table, table->count), 0, table->size);
    row->key = key;
    link_row(table, table->count++);
    return row;
}

void *debug_table_find(const struct debug_table *table, uint64_t key, const void *after)
{
    if (table->room == 0)
        return NULL;
    uint32_t next = after != NULL ? ((const struct debug_row *)after)->next : *head_of(table, key);
    while (next != 0 && row_at(table, next - 1)->key != key)
        next = row_at(table, next - 1)->next;
    return next != 0 ? row_at(table, next - 1) : NULL;
}

void debug_table_clear(struct debug_table *table)
{
    table->count = 0;
    debug_table_index(table);
}

void debug_table_free(const struct debug_memory *memory, struct debug_table *table)
{
    if (table->room != 0)
        memory->give(memory->context, table->frames, pages_of(table));
    table->rows = NULL;
    table->heads = NULL;
    table->count = table->room = 0;
}
