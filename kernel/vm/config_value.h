/* The values in a configuration: pieces of its text, and what they stand for. */
#pragma once

#include "kernel/core/status.h"
#include "kernel/core/types.h"

/* A piece of the text; not NUL-terminated. */
struct config_slice {
    const char *at;
    size_t length;
};

bool config_slice_is(struct config_slice slice, const char *word);

/* Without the blanks (space, tab) at both ends. */
struct config_slice config_slice_trim(struct config_slice slice);

/* The line's part before a comment. ERR_INVALID: a quotation mark is not closed. */
enum status MUST_CHECK config_slice_uncomment(struct config_slice *line);

/* Cuts `left` at the first separator outside quotation marks; false where there is none. */
bool config_slice_split(struct config_slice *left, char separator, struct config_slice *right);

/* Decimal, or hexadecimal after 0x. ERR_INVALID: no number; ERR_RANGE: does not fit in 64 bits. */
enum status MUST_CHECK config_number(struct config_slice slice, uint64_t *number);

/* A number, with K, M or G (powers of 1024) behind it or not. Errors as above. */
enum status MUST_CHECK config_size(struct config_slice slice, uint64_t *bytes);

/* A number, with ms, s, m or h behind it; without one of them s. Errors as above. */
enum status MUST_CHECK config_duration(struct config_slice slice, uint64_t *ms);

/* com1, com2, or the number of an I/O port that leaves room for a UART's 8 registers. */
enum status MUST_CHECK config_uart(struct config_slice slice, uint16_t *port);

/* ctrl-X as the control character that the key sends. */
enum status MUST_CHECK config_control_key(struct config_slice slice, uint8_t *character);

/* Without quotation marks around the whole of it. */
struct config_slice config_slice_unquote(struct config_slice slice);

/* Copies a file name of at most size - 1 bytes, without quotation marks around it; NULL, or what is
 * wrong with it. */
const char *config_path(struct config_slice slice, char *to, size_t size);

/* The position of slice in words[], which ends with NULL; -1: not there. */
int config_word(struct config_slice slice, const char *const *words);

/* Whether two file names differ in nothing but the case of letters. */
bool config_same_but_case(const char *a, const char *b);
