/* False in the compiler, which runs no guest. */
bool prebake_wamr_has_fsgsbase = false;
