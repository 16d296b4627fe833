//! Values that many copies share, as they are stored: the value itself, as if nothing shared it.
//!
//! The fleet is copied with each event, to see what the event changed; what is as large as a text is
//! shared by the copies, so that a copy of a thousand units asks for no memory a unit. Equality looks at
//! the place first, so that comparing copies costs as little.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().serialize(to)
}

pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Arc<T>, D::Error> {
    T::deserialize(from).map(Arc::new)
}

pub mod text {
    //! The same for texts.

    use super::{Arc, Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}

pub mod list {
    //! The same for lists.

    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<[T]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter())
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<[T]>, D::Error> {
        Vec::deserialize(from).map(Arc::from)
    }
}
