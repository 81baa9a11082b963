#include "kernel/core/fmt.h"

#include "kernel/core/mem.h"

struct output {
    char *buffer;
    size_t size;
    size_t length; /* that the whole text has so far */
};

/* One conversion specification. */
struct spec {
    bool left, zero, alternate;
    int width;
    int precision; /* -1: none given */
    enum { SIZE_CHAR, SIZE_SHORT, SIZE_INT, SIZE_LONG } size;
};

static void put(struct output *out, char c)
{
    if (out->length + 1 < out->size)
        out->buffer[out->length] = c;
    out->length++;
}

static void put_text(struct output *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put(out, text[i]);
}

static void pad(struct output *out, char c, int count)
{
    while (count-- > 0)
        put(out, c);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A decimal number, held at 9999: nobody pads further on purpose. */
static int parse_number(const char **format)
{
    int number = 0;
    for (; is_digit(**format); (*format)++)
        if (number < 1000)
            number = number * 10 + (**format - '0');
    return number;
}

static void parse_flags(struct spec *spec, const char **format)
{
    for (;; (*format)++) {
        if (**format == '-')
            spec->left = true;
        else if (**format == '0')
            spec->zero = true;
        else if (**format == '#')
            spec->alternate = true;
        else
            return;
    }
}

static void parse_size(struct spec *spec, const char **format)
{
    const char *f = *format;
    if (f[0] == 'h' && f[1] == 'h') {
        spec->size = SIZE_CHAR;
        f += 2;
    } else if (f[0] == 'h') {
        spec->size = SIZE_SHORT;
        f++;
    } else if (f[0] == 'l' && f[1] == 'l') {
        spec->size = SIZE_LONG;
        f += 2;
    } else if (f[0] == 'l' || f[0] == 'z') {
        spec->size = SIZE_LONG;
        f++;
    }
    *format = f;
}

/* A width or precision after '*' may be negative: left-justified, or not given. */
static void set_width(struct spec *spec, int width)
{
    if (width < 0) {
        spec->left = true;
        width = width < -9999 ? 9999 : -width;
    }
    spec->width = width > 9999 ? 9999 : width;
}

static void put_padded(struct output *out, const struct spec *spec, const char *text, size_t length)
{
    int fill = length < (size_t)spec->width ? spec->width - (int)length : 0;
    if (!spec->left)
        pad(out, ' ', fill);
    put_text(out, text, length);
    if (spec->left)
        pad(out, ' ', fill);
}

static void put_string(struct output *out, const struct spec *spec, const char *text)
{
    if (text == NULL)
        text = "(null)";
    size_t length = 0;
    while ((spec->precision < 0 || length < (size_t)spec->precision) && text[length] != '\0')
        length++;
    put_padded(out, spec, text, length);
}

/* prefix: "-", "0x" or "". */
static void put_number(struct output *out, const struct spec *spec, uint64_t value, unsigned base,
                       const char *digit_set, const char *prefix)
{
    char digits[24];
    int count = 0;
    for (; value != 0; value /= base)
        digits[count++] = digit_set[value % base];
    int zeros = (spec->precision < 0 ? 1 : spec->precision) - count;
    int sign = (int)strlen(prefix);
    if (spec->zero && !spec->left && spec->precision < 0)
        zeros = spec->width - sign - count > zeros ? spec->width - sign - count : zeros;
    zeros = zeros > 0 ? zeros : 0;
    int fill = spec->width - sign - zeros - count;
    if (!spec->left)
        pad(out, ' ', fill);
    put_text(out, prefix, (size_t)sign);
    pad(out, '0', zeros);
    while (count > 0)
        put(out, digits[--count]);
    if (spec->left)
        pad(out, ' ', fill);
}

static void put_signed(struct output *out, const struct spec *spec, int64_t value)
{
    if (spec->size == SIZE_CHAR)
        value = (signed char)value;
    if (spec->size == SIZE_SHORT)
        value = (short)value;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_number(out, spec, magnitude, 10, "0123456789", value < 0 ? "-" : "");
}

static void put_unsigned(struct output *out, const struct spec *spec, uint64_t value, char kind)
{
    static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    if (spec->size == SIZE_CHAR)
        value = (unsigned char)value;
    if (spec->size == SIZE_SHORT)
        value = (unsigned short)value;
    const char *prefix = "";
    if (kind != 'u' && spec->alternate && value != 0)
        prefix = kind == 'X' ? "0X" : "0x";
    put_number(out, spec, value, kind == 'u' ? 10 : 16, kind == 'X' ? upper : lower, prefix);
}

static void put_pointer(struct output *out, const struct spec *spec, uint64_t value)
{
    struct spec hexadecimal = *spec;
    hexadecimal.size = SIZE_LONG;
    put_number(out, &hexadecimal, value, 16, "0123456789abcdef", "0x");
}

/* One conversion after its '%'. va_list is passed by reference, so in a struct. */
struct arguments {
    va_list list;
};

static struct spec parse_spec(const char **format, struct arguments *args)
{
    struct spec spec = {.precision = -1, .size = SIZE_INT};
    parse_flags(&spec, format);
    if (**format == '*') {
        (*format)++;
        set_width(&spec, va_arg(args->list, int));
    } else {
        spec.width = parse_number(format);
    }
    if (**format == '.') {
        (*format)++;
        if (**format == '*') {
            (*format)++;
            int precision = va_arg(args->list, int);
            spec.precision = precision < 0 ? -1 : precision > 9999 ? 9999 : precision;
        } else {
            spec.precision = parse_number(format);
        }
    }
    parse_size(&spec, format);
    return spec;
}

static void convert(struct output *out, const struct spec *spec, char kind, struct arguments *args)
{
    bool is_long = spec->size == SIZE_LONG;
    char c;
    switch (kind) {
    case 'd':
    case 'i':
        put_signed(out, spec, is_long ? va_arg(args->list, long) : va_arg(args->list, int));
        return;
    case 'u':
    case 'x':
    case 'X':
        put_unsigned(out, spec,
                     is_long ? va_arg(args->list, unsigned long) : va_arg(args->list, unsigned int),
                     kind);
        return;
    case 'p':
        put_pointer(out, spec, (uintptr_t)va_arg(args->list, void *));
        return;
    case 's':
        put_string(out, spec, va_arg(args->list, const char *));
        return;
    case 'c':
        c = (char)va_arg(args->list, int);
        put_padded(out, spec, &c, 1);
        return;
    case '%':
        put(out, '%');
        return;
    }
    put(out, '%'); /* our own mistake, made visible */
    put(out, kind);
}

int fmt_vformat(char *buffer, size_t size, const char *format, va_list list)
{
    struct output out = {buffer, size, 0};
    struct arguments args;
    va_copy(args.list, list);
    while (*format != '\0') {
        if (*format != '%') {
            put(&out, *format++);
            continue;
        }
        format++;
        struct spec spec = parse_spec(&format, &args);
        if (*format == '\0')
            break;
        convert(&out, &spec, *format++, &args);
    }
    va_end(args.list);
    if (size > 0)
        buffer[out.length < size ? out.length : size - 1] = '\0';
    return (int)out.length;
}

int fmt_format(char *buffer, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = fmt_vformat(buffer, size, format, args);
    va_end(args);
    return length;
}
