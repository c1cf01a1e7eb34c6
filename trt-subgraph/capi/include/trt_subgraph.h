/* Saved plans from C. Link with -ltrt_subgraph_c; no framework is needed.
 *
 *     trt_session *s = trt_open("lenet5.plan", NULL);
 *     if (!s) { fprintf(stderr, "%s\n", trt_error()); return 1; }
 *     memcpy(trt_input_data(s, 0), image, trt_input_bytes(s, 0));
 *     if (trt_run(s)) { fprintf(stderr, "%s\n", trt_error()); return 1; }
 *     const float *probability = trt_output_data(s, 0);
 *     trt_close(s);
 *
 * Inputs and outputs are dense, row-major, in host memory that the session owns; on a GPU it is page-locked, and copies are part of a
 * call. A session is one thread's at a time and has one call in flight; trt_fork gives another one on the same weights.
 * Functions that may fail give NULL, or a number other than 0; trt_error tells why.
 */
#ifndef TRT_SUBGRAPH_H
#define TRT_SUBGRAPH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct trt_session trt_session;

/* Element types. */
enum {
    TRT_BOOL = 0, /* one byte, 0 or 1 */
    TRT_U8 = 1,
    TRT_I8 = 2,
    TRT_I16 = 3,
    TRT_I32 = 4,
    TRT_I64 = 5,
    TRT_F16 = 6,
    TRT_BF16 = 7,
    TRT_F32 = 8,
    TRT_F64 = 9
};

/* Why the latest call that failed on this thread did; "" when none has. Valid until the next call that fails. */
const char *trt_error(void);

/* Opens a plan's file, or with "shm:NAME" a plan in shared memory, and makes its engine. `backend` is "auto", "cuda", "cpu" or "reference"; NULL is
 * what the plan was saved for, or "auto". */
trt_session *trt_open(const char *path, const char *backend);

/* The same from memory, which is copied. */
trt_session *trt_open_bytes(const void *plan, size_t bytes, const char *backend);

/* Another session on the same program and weights. */
trt_session *trt_fork(trt_session *session);

/* Waits for a call in flight and frees the session. NULL does nothing. */
void trt_close(trt_session *session);

/* How many there are. Positions count from 0. */
size_t trt_input_count(const trt_session *session);
size_t trt_output_count(const trt_session *session);

/* The name, or NULL where there is no such position. Valid as long as the session. */
const char *trt_input_name(const trt_session *session, size_t at);
const char *trt_output_name(const trt_session *session, size_t at);

/* The position of a name, or -1. */
ptrdiff_t trt_input_index(const trt_session *session, const char *name);
ptrdiff_t trt_output_index(const trt_session *session, const char *name);

/* The element type, one of TRT_..., or -1 where there is no such position. */
int trt_input_type(const trt_session *session, size_t at);
int trt_output_type(const trt_session *session, size_t at);

/* The sizes, outermost first, as many as *rank says. NULL where there is no such position; a tensor without axes has rank 0. */
const size_t *trt_input_shape(const trt_session *session, size_t at, size_t *rank);
const size_t *trt_output_shape(const trt_session *session, size_t at, size_t *rank);

/* The bytes of the tensor; 0 where there is no such position. */
size_t trt_input_bytes(const trt_session *session, size_t at);
size_t trt_output_bytes(const trt_session *session, size_t at);

/* The elements. Waits for a call in flight; the address stays the same as long as the session lives. NULL on failure. */
void *trt_input_data(trt_session *session, size_t at);
const void *trt_output_data(trt_session *session, size_t at);

/* One call, complete on return. */
int trt_run(trt_session *session);

/* A call that may still be under way on return, and waiting for it. */
int trt_start(trt_session *session);
int trt_wait(trt_session *session);

/* The parts of a call, queued one after the other on the session's stream; complete when trt_wait returns. On a CPU nothing is copied, and
 * trt_execute is complete on return. */
int trt_send(trt_session *session);    /* the inputs to the device, from page-locked memory */
int trt_execute(trt_session *session); /* the engine */
int trt_fetch(trt_session *session);   /* the outputs from the device */

/* One call, complete on return; the seconds of the three parts by the device's clock, unless `seconds` is NULL. */
int trt_run_timed(trt_session *session, double seconds[3]);

/* The CUstream of the session, for work of your own before or after a call; NULL on a CPU. Valid as long as the session. */
void *trt_stream(const trt_session *session);

#ifdef __cplusplus
}
#endif

#endif
