// What runs in the guest while its network is measured. It connects to the host again and again, and does what the host asks for in the first nine
// bytes of each connection: a letter, and a number of bytes, little-endian.
//
//   S   send so many bytes, then end
//   R   receive to the end, and end
//   E   answer each byte that comes to port ECHO with the same byte, from now on
//   B   keep the processor busy from now on
//   Q   quit
//
// partner HOST PORT ECHO

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 128 << 10 };

static char piece[PIECE];

static void check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static int tcp(void) {
    int on = 1, socket_ = socket(AF_INET, SOCK_STREAM, 0);
    check(socket_, "socket");
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket_;
}

static void read_all(int from, void *to, size_t length) {
    while (length > 0) {
        ssize_t count = read(from, to, length);
        check(count > 0 ? 0 : -1, "read");
        to = (char *)to + count;
        length -= count;
    }
}

static void send_bytes(int to, uint64_t length) {
    while (length > 0) {
        ssize_t count = write(to, piece, length < PIECE ? length : PIECE);
        check(count, "write");
        length -= count;
    }
    check(shutdown(to, SHUT_WR), "shutdown");
}

static void receive(int from) {
    ssize_t count;
    while ((count = read(from, piece, PIECE)) > 0) {
    }
    check(count, "read");
}

static void echo(const char *port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int listener = tcp();
    check(bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
    check(listen(listener, 8), "listen");
    if (fork() == 0) {
        for (;;) {
            char byte;
            int peer = accept(listener, NULL, NULL);
            check(peer, "accept");
            while (read(peer, &byte, 1) == 1)
                check(write(peer, &byte, 1), "write");
            close(peer);
        }
    }
}

static void keep_busy(void) {
    if (fork() == 0) {
        for (volatile unsigned count = 0;; count++) {
        }
    }
}

int main(int count, char **arguments) {
    if (count != 4)
        return 2;
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    inet_pton(AF_INET, arguments[1], &host.sin_addr);
    for (;;) {
        uint64_t length;
        char order;
        int peer = tcp();
        check(connect(peer, (struct sockaddr *)&host, sizeof host), "connect");
        read_all(peer, &order, 1);
        read_all(peer, &length, sizeof length);
        switch (order) {
        case 'S': send_bytes(peer, length), receive(peer); break;
        case 'R': receive(peer); break;
        case 'E': echo(arguments[3]); break;
        case 'B': keep_busy(); break;
        default: return 0;
        }
        // Its children have it, too.
        shutdown(peer, SHUT_RDWR);
        close(peer);
    }
}
