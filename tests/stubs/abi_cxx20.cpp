// The same expectations in the language of the SDK.
#include "abi_c11.c"
