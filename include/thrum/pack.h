#ifndef THRUM_PACK_H
#define THRUM_PACK_H

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Records of fields of fixed width, in an order of bytes that is said: for headers of files and protocols.
 *
 *     unsigned char header[16];
 *     size_t n = 0;
 *     int err = thrum_pack(header, sizeof header, &n, ">4sHHQ", "THRM", 1u, flags, (uint64_t)length);
 *     ...
 *     err = thrum_unpack(header, n, NULL, ">4xHHQ", &version, &flags, &length);
 *
 * Format    First the order of the bytes, then the fields, each of them once or as often as the number in front
 *           of it says. There is no padding but what is asked for; blanks between fields are skipped.
 *
 *               >  !   the most significant byte first (the order of networks)
 *               <      the least significant byte first
 *               =      as this machine has it
 *
 *             code    bytes   packed from     unpacked to
 *             b  B    1       int, unsigned   int8_t *, uint8_t *
 *             h  H    2       int, unsigned   int16_t *, uint16_t *
 *             i  I    4       int, unsigned   int32_t *, uint32_t *
 *             q  Q    8       int64_t, uint64_t   int64_t *, uint64_t *
 *             f       4       double          float *
 *             d       8       double          double *
 *             ?       1       int             bool *
 *             5s      5       const void *    void *      that many bytes as they are: one argument
 *             x       1       nothing; a zero             nothing; skipped
 *
 * Errors    EINVAL: a format that cannot be read (no order included), or a NULL where bytes are due.
 *           EMSGSIZE: the buffer is too small, or the data too short. EOVERFLOW: a number does not fit its
 *           field. Whatever is not 0 has stored nothing.
 * Source    The struct module of Python: the same codes and sizes, without "native" sizes.
 * Context   Any thread or coroutine; waits for nothing, allocates nothing.
 */

/** Stores the bytes of the record in `*size`. @return 0 or EINVAL (also: more than a size_t). */
THRUM_API int thrum_pack_size(const char *format, size_t *size);

/** Packs the arguments into `buf`; `*packed` (may be NULL) gets the number of bytes. */
THRUM_API int thrum_pack(void *buf, size_t size, size_t *packed, const char *format, ...);

/** Unpacks into what the arguments point to, NULL: not wanted. `*used` (may be NULL) gets the number of bytes;
 *  there may be more in `data`. */
THRUM_API int thrum_unpack(const void *data, size_t size, size_t *used, const char *format, ...);

THRUM_END_DECLS
#endif /* THRUM_PACK_H */
