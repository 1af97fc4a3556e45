//! Functions of a guest.

use crate::error::{Error, Result};
use crate::ffi;
use crate::instance::{Id, Instance};
use crate::value::{Kind, NO_CELLS, Value, Values};
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An exported function that was looked up once, for many calls. `Params` and `Results` are what it takes and gives, as [`Values`].
#[derive(Debug)]
pub struct TypedFunc<Params, Results> {
    function: NonNull<ffi::Function>,
    instance: Id,
    types: PhantomData<fn(Params) -> Results>,
}

impl<Params: Values, Results: Values> TypedFunc<Params, Results> {
    /// Calls it on the instance where it was looked up.
    pub fn call(&self, instance: &mut Instance, params: Params) -> Result<Results> {
        if instance.id() != self.instance {
            return Err(Error::OtherInstance);
        }
        let mut cells = NO_CELLS;
        params.write(&mut cells);
        let count = const { cell_count(Params::KINDS) };
        // SAFETY: the function is of this instance, its signature was compared with these types, and neither has more than eight values.
        unsafe { instance.invoke(self.function, count, &mut cells) }?;
        Ok(Results::read(&cells))
    }
}

const fn cell_count(kinds: &[Kind]) -> u32 {
    let mut count = 0;
    let mut rest = kinds;
    while let [first, others @ ..] = rest {
        count += first.cells() as u32;
        rest = others;
    }
    count
}

/// A function and its signature.
pub(crate) struct Signature {
    function: NonNull<ffi::Function>,
    takes: Vec<Kind>,
    gives: Vec<Kind>,
}

impl Signature {
    fn of(instance: &mut Instance, name: &str) -> Result<Self> {
        let no_function = || Error::NoFunction { name: name.to_owned() };
        let c_name = CString::new(name).map_err(|_| no_function())?;
        let pointer = instance.pointer();
        // SAFETY: the instance is there and the name ends in a NUL.
        let function = NonNull::new(unsafe { ffi::wasm_runtime_lookup_function(pointer, c_name.as_ptr()) }).ok_or_else(no_function)?;
        // SAFETY: the function is of this instance; this and what follows reads its type.
        let mut takes = vec![0; unsafe { ffi::wasm_func_get_param_count(function.as_ptr(), pointer) } as usize];
        // SAFETY: as above.
        let mut gives = vec![0; unsafe { ffi::wasm_func_get_result_count(function.as_ptr(), pointer) } as usize];
        // SAFETY: both lists have as many places as there are types.
        unsafe {
            ffi::wasm_func_get_param_types(function.as_ptr(), pointer, takes.as_mut_ptr());
            ffi::wasm_func_get_result_types(function.as_ptr(), pointer, gives.as_mut_ptr());
        }
        let kinds = |kinds: Vec<u8>| {
            let kind = |kind| Kind::from_wamr(kind).ok_or_else(|| Error::ForeignKind { name: name.to_owned(), kind });
            kinds.into_iter().map(kind).collect::<Result<Vec<_>>>()
        };
        Ok(Self { function, takes: kinds(takes)?, gives: kinds(gives)? })
    }

    fn mismatch(self, name: &str, taken: Vec<Kind>, given: Vec<Kind>) -> Error {
        Error::Signature { name: name.to_owned(), takes: self.takes, gives: self.gives, taken, given }
    }
}

impl Instance {
    /// The exported function `name`, if it takes `Params` and gives `Results`.
    pub fn typed_func<Params: Values, Results: Values>(&mut self, name: &str) -> Result<TypedFunc<Params, Results>> {
        let signature = Signature::of(self, name)?;
        if signature.takes != Params::KINDS || signature.gives != Results::KINDS {
            return Err(signature.mismatch(name, Params::KINDS.to_vec(), Results::KINDS.to_vec()));
        }
        Ok(TypedFunc { function: signature.function, instance: self.id(), types: PhantomData })
    }

    /// Calls the exported function `name`, whatever it takes and gives. For many calls, [`typed_func`](Self::typed_func) is quicker.
    pub fn call(&mut self, name: &str, params: &[Value]) -> Result<Vec<Value>> {
        let signature = Signature::of(self, name)?;
        let taken: Vec<Kind> = params.iter().map(|value| value.kind()).collect();
        if signature.takes != taken {
            let given = signature.gives.clone();
            return Err(signature.mismatch(name, taken, given));
        }
        let mut cells = Vec::new();
        for value in params {
            value.push(&mut cells);
        }
        let count = cells.len() as u32;
        let result_cells: usize = signature.gives.iter().map(|kind| kind.cells()).sum();
        cells.resize(cells.len().max(result_cells), 0);
        // SAFETY: the function is of this instance, the first `count` cells are what it takes, and there is room for what it gives.
        unsafe { self.invoke(signature.function, count, &mut cells) }?;
        let mut cells = cells.into_iter();
        Ok(signature.gives.iter().map(|&kind| Value::pull(kind, &mut cells)).collect())
    }
}
