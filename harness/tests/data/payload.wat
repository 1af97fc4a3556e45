;; A machine in small: memory, data, a function that reads from the payload, and one that shows what it read.
(module
  (memory (export "memory") 4)
  (data (i32.const 16) "hello")
  (func $read (export "pb_payload_read") (param i32 i32 i32) unreachable)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "get") (param i32) (result i32) local.get 0 i32.load)
  (func (export "fetch") (param i32 i32) (result i32)
    (call $read (i32.const 1024) (local.get 0) (local.get 1)) (i32.load (i32.const 1024))))
