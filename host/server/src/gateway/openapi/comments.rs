//! The comments of the contract, by what they stand before.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor,
    MessageDescriptor, MethodDescriptor, OneofDescriptor, ServiceDescriptor,
};

/// A file's name and a place in it.
type Place = (String, Vec<i32>);

#[derive(Debug)]
pub(super) struct Comments(HashMap<Place, String>);

macro_rules! of {
    ($($name:ident: $descriptor:ty),* $(,)?) => {
        impl Comments {
            $(pub(super) fn $name(&self, descriptor: &$descriptor) -> String {
                self.at(&descriptor.parent_file(), descriptor.path())
            })*
        }
    };
}

of!(
    of_service: ServiceDescriptor,
    of_message: MessageDescriptor,
    of_enum: EnumDescriptor,
);

impl Comments {
    /// All that the descriptors hold.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let mut all = HashMap::new();
        for file in pool.files() {
            let proto = file.file_descriptor_proto();
            for location in proto
                .source_code_info
                .iter()
                .flat_map(|info| &info.location)
            {
                if let Some(comment) = &location.leading_comments {
                    let lines = comment
                        .lines()
                        .map(|line| line.strip_prefix(' ').unwrap_or(line));
                    let text = lines.collect::<Vec<_>>().join("\n");
                    let place = (file.name().to_owned(), location.path.clone());
                    all.insert(place, text.trim().to_owned());
                }
            }
        }
        Self(all)
    }

    pub(super) fn of_method(&self, method: &MethodDescriptor) -> String {
        self.at(&method.parent_service().parent_file(), method.path())
    }

    pub(super) fn of_field(&self, field: &FieldDescriptor) -> String {
        self.at(&field.parent_message().parent_file(), field.path())
    }

    pub(super) fn of_oneof(&self, oneof: &OneofDescriptor) -> String {
        self.at(&oneof.parent_message().parent_file(), oneof.path())
    }

    pub(super) fn of_value(&self, value: &EnumValueDescriptor) -> String {
        self.at(&value.parent_enum().parent_file(), value.path())
    }

    fn at(&self, file: &FileDescriptor, path: &[i32]) -> String {
        let place = (file.name().to_owned(), path.to_vec());
        self.0.get(&place).cloned().unwrap_or_default()
    }
}
