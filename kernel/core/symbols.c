#include "kernel/core/symbols.h"

#include "kernel/core/mem.h"

/* ELF-64 Object File Format: Symbol Table. */
struct elf64_sym {
    uint32_t name;
    uint8_t info;
    uint8_t other;
    uint16_t section;
    uint64_t value;
    uint64_t size;
};

#define SYMBOL_TYPE_MASK 0xf
#define SYMBOL_NOTYPE 0
#define SYMBOL_FUNC 2
#define SECTION_UNDEFINED 0
#define SECTION_ABSOLUTE 0xfff1

static const char *name_of(const struct symbols *symbols, uint32_t offset)
{
    if (offset == 0 || offset >= symbols->strtab_size)
        return NULL;
    for (uint64_t i = offset; i < symbols->strtab_size; i++)
        if (symbols->strtab[i] == '\0')
            return i > offset ? symbols->strtab + offset : NULL;
    return NULL;
}

static bool is_code(const struct elf64_sym *sym)
{
    unsigned type = sym->info & SYMBOL_TYPE_MASK;
    return (type == SYMBOL_FUNC || type == SYMBOL_NOTYPE) && sym->section != SECTION_UNDEFINED &&
           sym->section != SECTION_ABSOLUTE;
}

const char *symbols_lookup(const struct symbols *symbols, uint64_t address, uint64_t *offset)
{
    const char *best = NULL;
    uint64_t best_value = 0;
    for (uint64_t i = 0; i < symbols->symtab_size / sizeof(struct elf64_sym); i++) {
        struct elf64_sym sym;
        memcpy(&sym, (const uint8_t *)symbols->symtab + i * sizeof(sym), sizeof(sym));
        if (!is_code(&sym) || sym.value > address || (best != NULL && sym.value < best_value))
            continue;
        if (sym.size != 0 && address - sym.value >= sym.size)
            continue;
        const char *name = name_of(symbols, sym.name);
        if (name == NULL)
            continue;
        best = name;
        best_value = sym.value;
    }
    if (best != NULL)
        *offset = address - best_value;
    return best;
}
