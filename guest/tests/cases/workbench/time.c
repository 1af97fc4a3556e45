/* Asks for the time, often. */
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

int main(void) {
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    struct timespec last[4] = {{0, 0}}, now;
    struct timeval day;
    long backwards = 0;
    for (int i = 0; i < 1000000; i++) {
        clock_gettime(clocks[i % 4], &now);
        if (now.tv_sec < last[i % 4].tv_sec || (now.tv_sec == last[i % 4].tv_sec && now.tv_nsec < last[i % 4].tv_nsec)) backwards++;
        last[i % 4] = now;
        gettimeofday(&day, NULL);
    }
    printf("a million times, %s backwards\n", backwards || time(NULL) < 1000000000 ? "sometimes" : "never");
    return 0;
}
