/*
 * iopkt/abi.h: what every loadable object of io-pkt shares with its host.
 *
 * An object (driver or stack module) exports ONE data symbol, `iopkt_object`, a struct iopkt_object. It is
 * read from the file, through the ELF dynamic symbol table, before anything of the object runs: text stands
 * in arrays and not behind pointers for that reason. An object that is of the wrong kind, needs a newer
 * host or was given an option that it does not list is refused without having been mapped.
 *
 * Versioning. Every table starts with a struct iopkt_head that says how large its maker believed it to be.
 * Within one major version tables only grow, at their end; the reader takes what is there and treats the
 * rest as zero (a null function is "not supported"). A major version that differs is refused.
 *
 * Conventions. Numbers are in host byte order. A function that can fail returns 0 or a positive errno.
 * Text is UTF-8 without control characters. Structures given to a call are read before it returns and
 * never kept, unless the call says so.
 *
 * What came with which minor version is marked "since 1.N"; what is not marked is of 1.0.
 */
#ifndef IOPKT_ABI_H
#define IOPKT_ABI_H

#include <stddef.h>
#include <stdint.h>

#define IOPKT_ABI_MAJOR 1
#define IOPKT_ABI_MINOR 2

#define IOPKT_MAGIC "IOPKTOBJ" /* 8 bytes, no terminating NUL */

#define IOPKT_KIND_DRIVER 1
#define IOPKT_KIND_MODULE 2

/* First member of every table. */
struct iopkt_head {
    uint32_t size;  /* sizeof the whole table, as its maker was compiled */
    uint16_t major; /* IOPKT_ABI_MAJOR */
    uint16_t minor; /* IOPKT_ABI_MINOR */
};

#define IOPKT_HEAD(type) { sizeof(type), IOPKT_ABI_MAJOR, IOPKT_ABI_MINOR }

struct iopkt_driver_ops; /* driver.h */
struct iopkt_module_ops; /* module.h */

/* What an object is. Const data, exported as `iopkt_object`. */
struct iopkt_object {
    char magic[8];         /* IOPKT_MAGIC */
    struct iopkt_head head;
    uint16_t kind;         /* IOPKT_KIND_... */
    uint16_t needs_minor;  /* lowest minor version of the host that it can work with */
    uint32_t needs;        /* 0; bits for what a host may lack. The host refuses bits that it does not know */
    char name[32];         /* "ecm" for devnp-ecm.so */
    char prefix[16];       /* interface prefix: "ecm" gives ecm0, ecm1, ... (drivers; else empty) */
    char version[32];      /* the author's version text */
    char description[96];  /* one line for people */
    /*
     * The options that it takes, one a line, each ended by '\n': the option, a TAB, one line of help.
     *   verbose         a word without value
     *   wait=N          a value is required
     *   verbose[=N]     a value is possible
     *   *               alone: the object judges the list itself and gets it as it stands, name= and
     *                   unit= included (since 1.1; set needs_minor to 1)
     */
    char options[4096];
    uint64_t reserved[4];  /* 0 */
    const struct iopkt_driver_ops *driver; /* IOPKT_KIND_DRIVER: the entry table, else null */
    const struct iopkt_module_ops *module; /* IOPKT_KIND_MODULE: the entry table, else null (since 1.1) */
};

#if defined(__GNUC__)
#define IOPKT_EXPORT __attribute__((visibility("default"), used))
#else
#define IOPKT_EXPORT
#endif

#endif
