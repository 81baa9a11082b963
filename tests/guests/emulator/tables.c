/* The decoder's tables, for the guest: it makes one of each form. */
#include "kernel/vm/decode_table.c"
