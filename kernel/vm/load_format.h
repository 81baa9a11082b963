/* What a kernel's file is. */
#pragma once

/* In the order of the words of the `format` key. */
enum load_format {
    LOAD_AUTO, /* as the content says */
    LOAD_LINUX,
    LOAD_PVH,
    LOAD_MULTIBOOT,
    LOAD_MULTIBOOT2,
    LOAD_ELF,
    LOAD_FLAT,
    LOAD_FORMATS
};
