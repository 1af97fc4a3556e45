/* What gdb looks at. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    int value;
    double weight;
    struct node *next;
};

static int counter;

static struct node *push(struct node *head, int value) {
    struct node *node = malloc(sizeof *node);
    node->value = value;
    node->weight = sqrt(value);
    node->next = head;
    counter++;
    return node;
}

static int factorial(int n) {
    if (n < 2)
        return 1;
    return n * factorial(n - 1);
}

static void *thread(void *argument) {
    int *number = argument;
    *number += 100;
    return number;
}

static void handler(int number) {
    counter += number;
}

int main(void) {
    struct node *list = NULL;
    char text[32] = "";
    for (int i = 1; i <= 5; i++)
        list = push(list, i * i);
    strcpy(text, "in memory");
    int result = factorial(6);
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    int number = 1;
    pthread_t other;
    pthread_create(&other, NULL, thread, &number);
    pthread_join(other, NULL);
    printf("%d %d %d %f %s\n", result, number, counter, list->weight, text);
    return result == 720 ? 5 : 1;
}
