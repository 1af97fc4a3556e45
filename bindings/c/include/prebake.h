// Machines for programs in C: see docs/c.md. Made of bindings/c/src by `make c-header`.

#ifndef PREBAKE_H
#define PREBAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What became of a machine.
typedef enum prebake_ending {
  // Its program has ended, with a status.
  PREBAKE_ENDING_EXITED,
  // It was stopped.
  PREBAKE_ENDING_STOPPED,
  // A signal ended it; 1, SIGHUP, if its user has gone.
  PREBAKE_ENDING_SIGNALLED,
  // prebake could not run it, or not any longer.
  PREBAKE_ENDING_FAILED,
} prebake_ending;

// The files of a machine. They stay in the store until it is freed.
typedef struct prebake_artifacts prebake_artifacts;

// Why something failed.
typedef struct prebake_error prebake_error;

// A machine that runs, or has ended. Several threads may use it at a time.
typedef struct prebake_vm prebake_vm;

// Images and sessions in a folder. Several threads may use it at a time.
typedef struct prebake prebake;

// Gives up what is being done with it, from any thread.
typedef struct prebake_cancel prebake_cancel;

// Where files lie, and how registries are reached. Set all of it to zero first.
typedef struct prebake_options {
  // Everything that is written lies below this folder. Sessions have what was typed and shown: leave it out of backups that others read.
  const char *folder;
  // A folder with machine.wasm, vmlinux and initramfs.cpio, as prebake is installed. Without it, or if it is NULL, only pre-baked images can be run.
  const char *shipped;
  // A file with certificates (PEM) that are trusted besides this host's, or NULL.
  const char *authorities;
  // A file with credentials for registries, as docker and podman write it, or NULL.
  const char *credentials;
  // Registries are reached without TLS.
  bool plain_http;
} prebake_options;

// How far something has come.
typedef struct prebake_progress {
  // What is being done: "pull", "unpack-snapshot", "compile", "boot" and so on, as `prebake serve` calls it.
  const char *task;
  // How much is done.
  uint64_t done;
  // How much there is to do, or 0 if that is not known.
  uint64_t total;
  // The task has ended, with success or not.
  bool ended;
} prebake_progress;

// Hears how far something has come, several times a second at most, on the thread that does it.
typedef void (*prebake_on_progress)(void *user, const struct prebake_progress *progress);

// How an image is fetched. NULL is the same as all of it zero.
typedef struct prebake_ensure_options {
  // No registry is asked.
  bool offline;
  // A public key (PEM) that must have signed the image, or NULL.
  const char *verify_key;
  // Hears how far it has come, or NULL.
  prebake_on_progress on_progress;
  // What that is called with.
  void *user;
  // What gives it up, or NULL.
  const struct prebake_cancel *cancel;
} prebake_ensure_options;

// An image in the store. Its texts are valid until the function that gets it returns.
typedef struct prebake_image {
  // The reference in full.
  const char *reference;
  // Names this version of the image for ever.
  const char *digest;
  // The processor of its native code, or "wasm".
  const char *target;
  // Bytes of the machine.
  uint64_t machine_bytes;
  // Bytes of the snapshot, or 0 if there is none.
  uint64_t snapshot_bytes;
  // When it was pulled, in seconds since 1970.
  uint64_t pulled;
} prebake_image;

// A session. Its texts are valid until the function that gets it returns.
typedef struct prebake_session {
  // Its name.
  const char *name;
  // The reference, or the file, that it is of.
  const char *of;
  // When it began, in seconds since 1970.
  uint64_t began;
  // When it was saved last, in seconds since 1970, or 0 if it never was.
  uint64_t kept;
  // Bytes that it takes on the disk.
  uint64_t bytes;
  // A process runs it.
  bool running;
} prebake_session;

// What was removed from the store.
typedef struct prebake_pruned {
  // Files that were removed.
  uint64_t files;
  // Bytes of them.
  uint64_t bytes;
  // Files that were not, since they are in use.
  uint64_t in_use;
} prebake_pruned;

// What was saved of a machine.
typedef struct prebake_saved {
  // The session's name, with the NUL character that ends it.
  char session[129];
  // Pages that it has.
  uint64_t pages;
  // Bytes of them on the disk.
  uint64_t bytes;
  // How long that took.
  double milliseconds;
} prebake_saved;

// How a machine ended. What it points to is valid until `on_end` returns.
typedef struct prebake_ended {
  // What became of it.
  enum prebake_ending ending;
  // The program's status if it exited, or the number of the signal.
  int status;
  // Why it failed, or NULL.
  const struct prebake_error *error;
  // What was saved of it at its end, or NULL.
  const struct prebake_saved *saved;
  // Milliseconds until a guest that was restored could go on, or a negative number.
  double restore_ms;
  // Milliseconds until the guest wrote its first byte, or a negative number.
  double first_output_ms;
  // Instructions that the guest executed.
  uint64_t guest_instructions;
} prebake_ended;

// Hears a machine. Functions may be NULL, and must neither throw nor jump.
typedef struct prebake_listener {
  // What all of them are called with. It must be there until `on_end` has returned.
  void *user;
  // Hears what the guest writes: stream 1, which a terminal is too, or 2, which has what its kernel says as well. While it does not return, the guest waits.
  void (*on_output)(void *user, int stream, const uint8_t *bytes, size_t length);
  // Hears, on another thread than the functions above and below, how far it has come with what it has to fetch or boot.
  prebake_on_progress on_progress;
  // Hears, on that thread too, that the machine was to be saved, and could not be. One that was stopped runs on then, until it is stopped again.
  void (*on_not_saved)(void *user, const struct prebake_error *error);
  // Hears how it ended. It is the last that is heard of a machine, and is always heard, on the thread of `on_output`.
  void (*on_end)(void *user, const struct prebake_ended *ended);
} prebake_listener;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of prebake.
const char *prebake_version(void);

// Its kind, a stable name: those of `prebake serve`, and "panic" for a fault of prebake's own. Valid until the error is freed.
const char *prebake_error_kind(const struct prebake_error *error);

// What was found, what was wanted, and what to do, for a person. Valid until the error is freed.
const char *prebake_error_message(const struct prebake_error *error);

// Frees an error; NULL is none.
void prebake_error_free(struct prebake_error *error);

// Opens the images and sessions in a folder; several programs may have the same one open. NULL if that fails.
//
// Where `error` is not NULL, here and below, a function that fails writes an error there, which is to be freed.
struct prebake *prebake_open(const struct prebake_options *options, struct prebake_error **error);

// Closes it; NULL is none. Machines that were started with it run on.
void prebake_close(struct prebake *prebake);

// A new one. It may be used for several things one after another, until it has been cancelled.
struct prebake_cancel *prebake_cancel_new(void);

// Gives up what is being done with it: that fails soon, with the kind "cancelled". What has come so far is kept.
void prebake_cancel_now(const struct prebake_cancel *cancel);

// Frees it, once nothing is being done with it; NULL is none.
void prebake_cancel_free(struct prebake_cancel *cancel);

// Makes sure that what a reference names now is in the store, every byte of it verified, and returns its files. It asks the registry, which is one small
// question if nothing has changed; if the registry cannot be reached, what was pulled before is returned. What was cut off or given up goes on where it was the
// next time. NULL if it fails.
struct prebake_artifacts *prebake_ensure(const struct prebake *prebake,
                                         const char *reference,
                                         const struct prebake_ensure_options *options,
                                         struct prebake_error **error);

// The machine's path. Valid, as are the texts below, until the artifacts are freed.
const char *prebake_artifacts_machine(const struct prebake_artifacts *artifacts);

// The path of its snapshot. NULL if the image was not pre-baked: such a machine boots once, when it is first started, and is saved then.
const char *prebake_artifacts_snapshot(const struct prebake_artifacts *artifacts);

// The reference in full.
const char *prebake_artifacts_reference(const struct prebake_artifacts *artifacts);

// What names this version of the image for ever.
const char *prebake_artifacts_digest(const struct prebake_artifacts *artifacts);

// Frees artifacts, whose files may leave the store then; NULL is none.
void prebake_artifacts_free(struct prebake_artifacts *artifacts);

// Calls `each` for each image in the store, by reference, before it returns. Returns whether that worked.
bool prebake_images(const struct prebake *prebake,
                    void (*each)(void *user, const struct prebake_image *image),
                    void *user,
                    struct prebake_error **error);

// Calls `each` for each session, by name, before it returns. Returns whether that worked.
bool prebake_sessions(const struct prebake *prebake,
                      void (*each)(void *user, const struct prebake_session *session),
                      void *user,
                      struct prebake_error **error);

// Ends a session for good. Returns whether that worked.
bool prebake_session_remove(const struct prebake *prebake, const char *name, struct prebake_error **error);

// Forgets an image, or none if `reference` is NULL, and removes every file that no other image, no session and no machine that runs needs. Returns whether
// that worked.
bool prebake_prune(const struct prebake *prebake,
                   const char *reference,
                   struct prebake_pruned *pruned,
                   struct prebake_error **error);

// Starts a machine. `spec` is JSON, as `prebake serve` has it: {"image": "alpine", "terminal": {"columns": 80, "rows": 24}} is a shell of Alpine. Returns at
// once, or NULL if `spec` cannot be: what fails later is heard by `on_end`.
struct prebake_vm *prebake_vm_start(const struct prebake *prebake,
                                    const char *spec,
                                    const struct prebake_listener *listener,
                                    struct prebake_error **error);

// Gives the machine something to read; waits while it has not taken what was written before. Returns whether that worked: a machine that ends reads no more.
bool prebake_vm_write(const struct prebake_vm *vm,
                      const void *bytes,
                      size_t length,
                      struct prebake_error **error);

// Sends the end of what the machine reads. To a machine with a terminal it means that its user has gone: it is saved and ends.
void prebake_vm_close_input(const struct prebake_vm *vm);

// Tells the machine the size of its terminal. A size of 0 is none, and is not told.
void prebake_vm_resize(const struct prebake_vm *vm, uint16_t columns, uint16_t rows);

// Sends a signal from 1 to 64 to the machine's program. A second one of SIGTERM, SIGINT, SIGQUIT or SIGHUP ends the machine; where it is in a session, the first
// SIGTERM or SIGHUP saves and ends it. Returns whether there is such a signal.
bool prebake_vm_signal(const struct prebake_vm *vm,
                       int number);

// Saves what the guest has done in its session, and returns once that is on the disk. What was saved is written where `saved` points, if that is not NULL. Returns
// whether that worked.
bool prebake_vm_checkpoint(const struct prebake_vm *vm,
                           struct prebake_saved *saved,
                           struct prebake_error **error);

// Saves the machine if it is in a session, and ends it. Returns at once: `on_end` hears when that is done, or `on_not_saved` that it runs on. If a part of its image
// has yet to come, that comes first; a second stop does not wait for it.
void prebake_vm_stop(const struct prebake_vm *vm);

// Waits until the machine has ended and `on_end` has returned.
void prebake_vm_wait(const struct prebake_vm *vm);

// Frees a machine; NULL is none. One that runs is saved if it is in a session, ends, and is waited for. The functions of its listener may free it, too.
void prebake_vm_free(struct prebake_vm *vm);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PREBAKE_H */
