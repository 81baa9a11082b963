#include "kernel/vm/config_value.h"

#include "kernel/core/mem.h"
#include "kernel/vm/platform.h"

bool config_slice_is(struct config_slice slice, const char *word)
{
    return slice.length == strlen(word) && memcmp(slice.at, word, slice.length) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct config_slice config_slice_trim(struct config_slice slice)
{
    while (slice.length != 0 && is_blank(slice.at[0])) {
        slice.at++;
        slice.length--;
    }
    while (slice.length != 0 && is_blank(slice.at[slice.length - 1]))
        slice.length--;
    return slice;
}

enum status config_slice_uncomment(struct config_slice *line)
{
    bool quoted = false;
    for (size_t i = 0; i < line->length; i++) {
        char c = line->at[i];
        if (c == '"')
            quoted = !quoted;
        if (c == '#' && !quoted && (i == 0 || is_blank(line->at[i - 1]))) {
            line->length = i;
            return STATUS_OK;
        }
    }
    return quoted ? ERR_INVALID : STATUS_OK;
}

bool config_slice_split(struct config_slice *left, char separator, struct config_slice *right)
{
    bool quoted = false;
    for (size_t i = 0; i < left->length; i++) {
        if (left->at[i] == '"')
            quoted = !quoted;
        if (left->at[i] != separator || quoted)
            continue;
        *right = config_slice_trim((struct config_slice){left->at + i + 1, left->length - i - 1});
        left->length = i;
        *left = config_slice_trim(*left);
        return true;
    }
    return false;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

enum status config_number(struct config_slice slice, uint64_t *number)
{
    unsigned base = 10;
    if (slice.length > 2 && slice.at[0] == '0' && (slice.at[1] | 0x20) == 'x') {
        base = 16;
        slice.at += 2;
        slice.length -= 2;
    }
    if (slice.length == 0)
        return ERR_INVALID;
    uint64_t sum = 0;
    bool fits = true;
    for (size_t i = 0; i < slice.length; i++) {
        unsigned digit = (unsigned)digit_value(slice.at[i]);
        if (digit >= base)
            return ERR_INVALID;
        fits = fits && sum <= (UINT64_MAX - digit) / base;
        sum = sum * base + digit;
    }
    *number = sum;
    return fits ? STATUS_OK : ERR_RANGE;
}

enum status config_size(struct config_slice slice, uint64_t *bytes)
{
    static const struct {
        char suffix;
        unsigned shift;
    } units[] = {{'K', 10}, {'M', 20}, {'G', 30}};

    unsigned shift = 0;
    for (size_t i = 0; i < ARRAY_SIZE(units) && slice.length != 0; i++)
        if (slice.at[slice.length - 1] == units[i].suffix)
            shift = units[i].shift;
    if (shift != 0)
        slice.length--;
    uint64_t number;
    enum status status = config_number(slice, &number);
    if (status != STATUS_OK)
        return status;
    *bytes = number << shift;
    return *bytes >> shift == number ? STATUS_OK : ERR_RANGE;
}

enum status config_duration(struct config_slice slice, uint64_t *ms)
{
    static const struct {
        const char *suffix;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};

    unsigned i = 0;
    while (slice.length < strlen(units[i].suffix) ||
           memcmp(slice.at + slice.length - strlen(units[i].suffix), units[i].suffix,
                  strlen(units[i].suffix)) != 0)
        i++;
    slice.length -= strlen(units[i].suffix);
    uint64_t number;
    enum status status = config_number(slice, &number);
    if (status != STATUS_OK)
        return status;
    *ms = number * units[i].ms;
    return *ms / units[i].ms == number ? STATUS_OK : ERR_RANGE;
}

enum status config_uart(struct config_slice slice, uint16_t *port)
{
    static const char *const names[] = {"com1", "com2", NULL};
    static const uint16_t ports[] = {PLATFORM_PORT_COM1, PLATFORM_PORT_COM2};

    int index = config_word(slice, names);
    if (index >= 0) {
        *port = ports[index];
        return STATUS_OK;
    }
    uint64_t number;
    enum status status = config_number(slice, &number);
    if (status != STATUS_OK)
        return status;
    if (number == 0 || number > 0x10000 - PLATFORM_PORT_UART_SIZE)
        return ERR_RANGE;
    *port = (uint16_t)number;
    return STATUS_OK;
}

enum status config_control_key(struct config_slice slice, uint8_t *character)
{
    static const char prefix[] = "ctrl-";
    size_t length = sizeof(prefix) - 1;
    if (slice.length != length + 1 || memcmp(slice.at, prefix, length) != 0)
        return ERR_INVALID;
    char c = slice.at[length];
    bool is_key = (c >= 'a' && c <= 'z') || c == ']' || c == '\\' || c == '^' || c == '_';
    if (!is_key)
        return ERR_INVALID;
    *character = (uint8_t)c & 0x1f;
    return STATUS_OK;
}

static bool is_dots(const char *component, size_t length)
{
    return (length == 1 && component[0] == '.') ||
           (length == 2 && component[0] == '.' && component[1] == '.');
}

/* What is wrong with a component of a file name; NULL: nothing. */
static const char *component_fault(const char *component, size_t length)
{
    static const char forbidden[] = "\\:*?\"<>|";

    if (length == 0)
        return "the name of a file or folder is empty; names are relative to the configuration";
    if (is_dots(component, length))
        return "'.' and '..' are not allowed; files lie beside or below the configuration";
    if (component[length - 1] == '.' || component[length - 1] == ' ')
        return "a name that ends in a dot or a space does not fit on the image's file system";
    for (size_t i = 0; i < length; i++) {
        if (component[i] < 0x20 || component[i] > 0x7e)
            return "only printable ASCII characters are allowed in a file name";
        for (size_t j = 0; j < sizeof(forbidden) - 1; j++)
            if (component[i] == forbidden[j])
                return "the characters \\ : * ? \" < > | do not fit on the image's file system; "
                       "folders are separated by /";
    }
    return NULL;
}

struct config_slice config_slice_unquote(struct config_slice slice)
{
    if (slice.length < 2 || slice.at[0] != '"' || slice.at[slice.length - 1] != '"')
        return slice;
    return (struct config_slice){slice.at + 1, slice.length - 2};
}

const char *config_path(struct config_slice slice, char *to, size_t size)
{
    slice = config_slice_unquote(slice);
    if (slice.length >= size)
        return "the file name is too long; 127 characters are allowed";
    size_t start = 0;
    for (size_t i = 0; i <= slice.length; i++) {
        if (i != slice.length && slice.at[i] != '/')
            continue;
        const char *fault = component_fault(slice.at + start, i - start);
        if (fault != NULL)
            return fault;
        start = i + 1;
    }
    memcpy(to, slice.at, slice.length);
    to[slice.length] = '\0';
    return NULL;
}

int config_word(struct config_slice slice, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (config_slice_is(slice, words[i]))
            return i;
    return -1;
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

bool config_same_but_case(const char *a, const char *b)
{
    bool differs = false;
    for (; *a != '\0' || *b != '\0'; a++, b++) {
        if (to_lower(*a) != to_lower(*b))
            return false;
        differs = differs || *a != *b;
    }
    return differs;
}
