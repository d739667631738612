/* The kernel's arithmetic, run on the CPU: what a launch of it does. */
#include "letterbox.cu"

void letterbox(const Frames *frames, unsigned char *out, int width, int height, int pad, int batch)
{
    for (int n = 0; n < batch; ++n)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x)
                letterbox_pixel(&frames->frame[n], x, y, pad, out + (((long long)n * height + y) * width + x) * 3);
}
