#include <prebake.h>
