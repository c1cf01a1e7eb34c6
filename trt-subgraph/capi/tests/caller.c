/* Runs the plan that it is given (x: f32[2,3], w = 1..3, y = x * w + 1) and checks what every function of the header gives. */
#include "trt_subgraph.h"

#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                                                            \
    if (!(condition)) {                                                                             \
        fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, trt_error());                   \
        return 1;                                                                                   \
    }

static int check(trt_session *s) {
    size_t rank = 9, i;
    const size_t *shape;
    float *x;
    const float *y;
    double seconds[3];
    CHECK(trt_input_count(s) == 1 && trt_output_count(s) == 2);
    CHECK(strcmp(trt_input_name(s, 0), "x") == 0 && strcmp(trt_output_name(s, 1), "place") == 0);
    CHECK(trt_input_name(s, 1) == NULL && strstr(trt_error(), "no position 1"));
    CHECK(trt_output_index(s, "place") == 1 && trt_output_index(s, "x") == -1 && trt_input_index(s, NULL) == -1);
    CHECK(trt_input_type(s, 0) == TRT_F32 && trt_output_type(s, 1) == TRT_I64 && trt_input_type(s, 5) == -1);
    shape = trt_input_shape(s, 0, &rank);
    CHECK(shape && rank == 2 && shape[0] == 2 && shape[1] == 3);
    CHECK(trt_output_shape(s, 0, NULL) != NULL && trt_output_shape(s, 9, &rank) == NULL);
    CHECK(trt_input_bytes(s, 0) == 24 && trt_output_bytes(s, 1) == 16 && trt_output_bytes(s, 2) == 0);
    x = trt_input_data(s, 0);
    CHECK(x && !trt_input_data(s, 1) && !trt_output_data(s, 2));
    for (i = 0; i < 6; i++) x[i] = (float)i;
    CHECK(trt_run(s) == 0);
    y = trt_output_data(s, 0);
    for (i = 0; i < 6; i++) CHECK(y[i] == (float)i * (float)(i % 3 + 1) + 1);
    CHECK(((const long long *)trt_output_data(s, 1))[0] == 2);
    x[0] = 41;
    CHECK(trt_start(s) == 0 && trt_wait(s) == 0 && trt_wait(s) == 0);
    CHECK(((const float *)trt_output_data(s, 0))[0] == 42);
    CHECK(trt_input_data(s, 0) == x);
    x[0] = 7;
    CHECK(trt_send(s) == 0 && trt_execute(s) == 0 && trt_fetch(s) == 0 && trt_wait(s) == 0);
    CHECK(((const float *)trt_output_data(s, 0))[0] == 8);
    x[0] = 8;
    CHECK(trt_run_timed(s, seconds) == 0 && seconds[1] > 0 && seconds[0] >= 0 && seconds[2] >= 0);
    CHECK(((const float *)trt_output_data(s, 0))[0] == 9 && trt_run_timed(s, NULL) == 0);
    CHECK(trt_stream(NULL) == NULL && trt_send(NULL) != 0 && trt_run_timed(NULL, seconds) != 0);
    return 0;
}

int main(int count, char **words) {
    static char bytes[1 << 16];
    trt_session *s, *fork;
    size_t length;
    FILE *file;
    CHECK(count == 4);
    CHECK(trt_error()[0] == 0);
    CHECK(trt_open("no/such.plan", NULL) == NULL && strstr(trt_error(), "no/such.plan"));
    CHECK(trt_open(words[0], NULL) == NULL && strstr(trt_error(), "not a plan"));
    CHECK(trt_open(NULL, NULL) == NULL && trt_open_bytes(NULL, 0, NULL) == NULL);
    CHECK(trt_open(words[1], "nonsense") == NULL && strstr(trt_error(), "nonsense"));
    CHECK(trt_run(NULL) != 0 && trt_input_count(NULL) == 0 && trt_input_data(NULL, 0) == NULL);
    s = trt_open(words[1], words[2]);
    CHECK(s);
    if (check(s)) return 1;
    fork = trt_fork(s);
    trt_close(s);
    CHECK(fork);
    if (check(fork)) return 1;
    trt_close(fork);
    trt_close(NULL);
    s = trt_open(words[3], words[2]);
    CHECK(s);
    if (check(s)) return 1;
    trt_close(s);
    file = fopen(words[1], "rb");
    CHECK(file);
    length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    s = trt_open_bytes(bytes, length, words[2]);
    CHECK(s);
    if (check(s)) return 1;
    trt_close(s);
    bytes[length / 2] ^= 1;
    CHECK(trt_open_bytes(bytes, length, words[2]) == NULL && strstr(trt_error(), "damaged"));
    puts("all holds");
    return 0;
}
