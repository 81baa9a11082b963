#include "kernel/debug/text.h"

#include "kernel/core/fmt.h"

void text_print(const struct text *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = fmt_vformat(line, sizeof(line), format, arguments);
    va_end(arguments);
    text->put(text->context, line,
              (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
}
