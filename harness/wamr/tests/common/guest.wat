;; What the tests call. Functions that take an address take it as i32.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link"
    (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink"
    (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))

  (memory (export "memory") 16 16)
  (data (i32.const 16) "name.txt")
  (data (i32.const 24) "src")
  (data (i32.const 27) "tests")
  (data $late "bytes that wait")
  (type $none (func))
  (table 4 funcref)
  (elem (i32.const 0) $nothing $add)

  (func $nothing)
  (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
  (func (export "sum8") (param i64 i32 i64 i32 i64 i32 i64 i32) (result i64)
    (i64.add
      (i64.add (i64.add (local.get 0) (local.get 2)) (i64.add (local.get 4) (local.get 6)))
      (i64.extend_i32_s (i32.add (i32.add (local.get 1) (local.get 3)) (i32.add (local.get 5) (local.get 7))))))
  (func (export "half") (param f64 f32) (result f64) (f64.div (local.get 0) (f64.promote_f32 (local.get 1))))

  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "sum") (param $at i32) (param $len i32) (result i64)
    (local $sum i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (local.set $sum (i64.add (local.get $sum) (i64.load8_u (i32.add (local.get $at) (local.get $len)))))
        (br $next)))
    (local.get $sum))
  (func (export "init") (param i32 i32 i32) (memory.init $late (local.get 0) (local.get 1) (local.get 2)))

  (func (export "unreachable") unreachable)
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "indirect") (param i32) (call_indirect (type $none) (local.get 0)))
  ;; Work after the call, of a kind that cannot be moved before it: no compiler makes a loop of this.
  (func $recurse (export "recurse") (param i32) (result i32)
    (i32.sub (i32.mul (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 3)) (i32.load (i32.and (local.get 0) (i32.const 60)))))
  (func (export "exit") (param i32) (call $proc_exit (local.get 0)))

  ;; Reads name.txt of the first directory to `at`; how many bytes, or minus the error.
  (func (export "read_file") (param $at i32) (param $len i32) (result i32)
    (local $error i32)
    (local.set $error
      (call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 8) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64)))
    (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
    (i32.store (i32.const 72) (local.get $at))
    (i32.store (i32.const 76) (local.get $len))
    (local.set $error (call $fd_read (i32.load (i32.const 64)) (i32.const 72) (i32.const 1) (i32.const 80)))
    (if (local.get $error) (then (return (i32.sub (i32.const 0) (local.get $error)))))
    (i32.load (i32.const 80)))
  ;; Gives name.txt of the first directory the name src too; the error.
  (func (export "link") (result i32)
    (call $path_link (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 8) (i32.const 3) (i32.const 24) (i32.const 3)))
  ;; Makes a symbolic link to src, which is called tests; the error.
  (func (export "symlink") (result i32)
    (call $path_symlink (i32.const 24) (i32.const 3) (i32.const 3) (i32.const 27) (i32.const 5)))
  ;; Writes `len` bytes at `at` to standard output; the error.
  (func (export "print") (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 72) (local.get $at))
    (i32.store (i32.const 76) (local.get $len))
    (call $fd_write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 80)))
  (func (export "argc") (result i32)
    (drop (call $args_sizes_get (i32.const 64) (i32.const 68)))
    (i32.load (i32.const 64)))
  ;; Puts the environment to `at`.
  (func (export "environ") (param $at i32) (result i32) (call $environ_get (i32.const 64) (local.get $at))))
