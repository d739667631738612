/* The whole of the letterbox kernel as C++: a launch runs its threads one after the other. */
struct Place {
    int x, y, z;
};
static thread_local Place blockIdx, threadIdx, blockDim;

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__

#include "letterbox.cu"

extern "C" void launch(const int *grid, const int *block, const Frames *frames, unsigned char *out,
                       int width, int height, int pad)
{
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                    for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                        letterbox(*frames, out, width, height, pad);
}
