/* The limit of spawning: COUNT times COMMAND by /bin/sh on PROCESSES processes, each child in its own session, its two
   pipes read to their end and compared with EXPECTED. Prints the seconds it took.
   spawn COUNT PROCESSES COMMAND EXPECTED */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int once(const char *command, const char *expected, int null)
{
    int out[2], err[2], status, open = 2;
    char got[2][4096];
    size_t have[2] = {0, 0};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    pid_t pid;
    char *argv[] = {"sh", "-c", (char *)command, NULL};

    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) return -1;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, null, 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawn_file_actions_adddup2(&files, err[1], 2);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSID);
    if (posix_spawn(&pid, "/bin/sh", &files, &how, argv, environ)) return -1;
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    close(out[1]);
    close(err[1]);
    struct pollfd both[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
    while (open) {
        if (poll(both, 2, -1) < 0) return -1;
        for (int i = 0; i < 2; i++) {
            if (both[i].fd < 0 || !both[i].revents) continue;
            ssize_t n = read(both[i].fd, got[i] + have[i], sizeof got[i] - have[i]);
            if (n > 0) { have[i] += n; continue; }
            close(both[i].fd);
            both[i].fd = -1;
            open--;
        }
    }
    if (waitpid(pid, &status, 0) != pid || status != 0) return -1;
    return have[1] == 0 && have[0] == strlen(expected) && !memcmp(got[0], expected, have[0]) ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    int count = atoi(argv[1]), processes = atoi(argv[2]), failed = 0, status;
    double began = now();
    for (int p = 0; p < processes; p++) {
        pid_t pid = fork();
        if (pid < 0) return 1;
        if (pid) continue;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC), share = count / processes + (p < count % processes);
        for (int i = 0; i < share; i++)
            if (once(argv[3], argv[4], null)) _exit(1);
        _exit(0);
    }
    while (wait(&status) > 0) failed |= status;
    printf("%.6f\n", now() - began);
    return failed != 0;
}
