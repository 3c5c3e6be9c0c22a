/* Included before every C++ file of llama.cpp where the processor has AMX (tools/llama_wheel.py). It mends two faults in how its AMX kernels
 * set up the processor's tiles:
 *
 * - GCC's own `_tile_loadconfig`, at least up to GCC 12, tells the compiler that the instruction reads 8 of the 64 bytes. The compiler then
 *   leaves out the stores of the others, and the instruction faults on what happens to lie there (ggml-org/llama.cpp issue 20824).
 * - llama.cpp sets the tiles up once for each thread and trusts that nobody else does. Another library in the process may: PyTorch does.
 *   The call is the last but one statement of its function, and the last notes that it need not be made again. So it returns here, before
 *   that, and the tiles are set up at each matrix product, which takes some tens of cycles.
 */
#if defined(__AMX_TILE__)
#include <immintrin.h>

/* By this name the program knows that the library was compiled with this file (limbic/runtime/llama.py). */
extern "C" {
__attribute__((weak, visibility("default"))) int limbic_amx_tile_config = 1;
}

static inline __attribute__((always_inline)) void limbic_load_tile_config(const void *config) {
    __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char (*)[64])config));
}

#define _tile_loadconfig(config) return (void)limbic_load_tile_config(config)
#endif
