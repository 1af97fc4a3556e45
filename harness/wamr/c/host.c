#include <stdio.h>

bool prebake_wamr_has_fsgsbase = false;

int
prebake_wamr_vprintf(const char *format, va_list arguments)
{
    return vfprintf(stderr, format, arguments);
}
