//! A method's graph as plain data.

use std::fmt;
use std::ops::Index;

use tch::{IValue, Tensor};

use crate::sys::ffi;

/// Number of a value in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Number of a node in its graph; nodes are numbered in source order, a node before those in its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Number of a block in its graph; block 0 is the body of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// A prepared graph. Index it with the ids.
#[derive(Debug)]
pub struct GraphFacts {
    /// Values by number.
    pub values: Vec<Value>,
    /// Nodes by number.
    pub nodes: Vec<Node>,
    /// Blocks by number. The inputs of block 0 are the module itself and the method's arguments.
    pub blocks: Vec<Block>,
    /// Attributes that became constants, by qualified name; see [`Graph::still_holds`](super::Graph::still_holds).
    pub folded: Vec<String>,
    /// Names of attributes that some method of the module or of a submodule sets: they are read where the graph reads them.
    pub assigned: Vec<String>,
    /// Running the graph once more would change nothing: no state, no argument, no random numbers.
    pub repeatable: bool,
}

/// A list of nodes with inputs and outputs: the method's body, a branch of `prim::If`, the body of `prim::Loop`.
#[derive(Debug)]
pub struct Block {
    /// Values defined by the block itself.
    pub inputs: Vec<ValueId>,
    /// Values that leave the block.
    pub outputs: Vec<ValueId>,
    /// Nodes in order.
    pub nodes: Vec<NodeId>,
}

/// What is known of a value without running the graph.
#[derive(Debug)]
pub struct Value {
    /// torch's name for it, without the `%`.
    pub name: String,
    /// Static type.
    pub ty: ValueType,
    /// The node that makes it, or `None` for an input of a block.
    pub producer: Option<NodeId>,
    /// Some node of the graph may write to its memory.
    pub written: bool,
    /// It may share memory with an argument of the method.
    pub may_alias_input: bool,
    /// It may share memory with, or be held by, the method's result.
    pub may_alias_output: bool,
    /// The caller gets it, or a view of it, and has another handle to the same memory: an argument, an attribute, another
    /// result.
    pub shared: bool,
    /// The program asks how it, or a view of it, lies in memory.
    pub asked: bool,
}

/// An operation.
#[derive(Debug)]
pub struct Node {
    /// Qualified name, such as `aten::conv2d`.
    pub kind: String,
    /// Overload name, such as `Tensor` in `aten::add.Tensor`; empty where there is none.
    pub overload: String,
    /// The operator's full schema; empty for control flow and other nodes without one.
    pub schema: String,
    /// Arguments.
    pub inputs: Vec<ValueId>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Nested blocks.
    pub blocks: Vec<BlockId>,
    /// The block that it stands in.
    pub block: BlockId,
    /// Where the model's author wrote it.
    pub place: Place,
    /// The submodule whose method it comes from: attribute names joined by dots, empty for the module itself.
    pub module: String,
    /// The value of a `prim::Constant`.
    pub constant: Option<IValue>,
    /// What a `prim::GetAttr` reads.
    pub attribute: Option<Attribute>,
    /// It, or a node in its blocks, may write to memory that it did not make.
    pub mutates: bool,
    /// It, or a node in its blocks, does something besides computing its results.
    pub side_effects: bool,
    /// It draws random numbers.
    pub nondeterministic: bool,
    /// Its results share memory with its arguments.
    pub view: bool,
    /// It only reads its arguments, and its results are memory of their own.
    pub fresh: bool,
}

/// A place in the model's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// File name; empty where unknown.
    pub file: String,
    /// Line from 1; 0 where unknown.
    pub line: u32,
    /// The text of the line, trimmed.
    pub text: String,
}

/// What a `prim::GetAttr` reads.
#[derive(Debug)]
pub struct Attribute {
    /// Attribute names from the root, joined by dots.
    pub path: String,
    /// What the module registered it as.
    pub role: Role,
    /// The very tensor that the module holds, where it is one.
    pub tensor: Option<Tensor>,
}

/// What a module registered an attribute as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Changed by training.
    Parameter,
    /// A tensor that training does not change.
    Buffer,
    /// Anything else.
    Attribute,
}

/// Static type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A tensor of any dtype and shape.
    Tensor,
    /// i64.
    Int,
    /// f64.
    Float,
    /// true or false.
    Bool,
    /// int, float or complex.
    Number,
    /// Text.
    Str,
    /// A device.
    Device,
    /// Only None.
    None,
    /// A list of one type.
    List(Box<ValueType>),
    /// A type or None.
    Optional(Box<ValueType>),
    /// A fixed sequence.
    Tuple(Vec<ValueType>),
    /// A dict of key type and value type.
    Dict(Box<ValueType>, Box<ValueType>),
    /// A class, enum, future or the like, as torch names it.
    Other(String),
}

impl ValueType {
    /// What it is where it is not None.
    pub fn present(&self) -> &ValueType {
        if let ValueType::Optional(inner) = self { inner } else { self }
    }

    /// Reads torch's annotation syntax, such as `List[Optional[Tensor]]`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some((head, arguments)) = text.split_once('[').filter(|_| text.ends_with(']')) {
            let mut arguments = split_arguments(&arguments[..arguments.len() - 1]).map(Self::parse);
            let mut next = || Box::new(arguments.next().unwrap_or(Self::Other(String::new())));
            return match head {
                "List" => Self::List(next()),
                "Optional" => Self::Optional(next()),
                "Dict" => Self::Dict(next(), next()),
                "Tuple" => Self::Tuple(arguments.collect()),
                _ => Self::Other(text.to_owned()),
            };
        }
        match text {
            "Tensor" => Self::Tensor,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "number" | "Scalar" | "Union[complex, float, int]" => Self::Number,
            "str" => Self::Str,
            "Device" | "torch.device" => Self::Device,
            "NoneType" | "None" => Self::None,
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for ValueType {
    /// torch's annotation syntax, as [`ValueType::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("Tensor"),
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::Str => f.write_str("str"),
            Self::Device => f.write_str("Device"),
            Self::None => f.write_str("None"),
            Self::List(element) => write!(f, "List[{element}]"),
            Self::Optional(inner) => write!(f, "Optional[{inner}]"),
            Self::Dict(key, value) => write!(f, "Dict[{key}, {value}]"),
            Self::Tuple(types) if types.is_empty() => f.write_str("Tuple[()]"),
            Self::Tuple(types) => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                write!(f, "Tuple[{}]", types.join(", "))
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The parts of `text` between commas that stand outside of brackets; `()` alone means none.
fn split_arguments(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ',' && depth == 0
    })
    .filter(|part| !matches!(part.trim(), "" | "()"))
}

impl Role {
    pub(super) fn from_raw(role: ffi::Role) -> Self {
        match role {
            ffi::Role::Parameter => Self::Parameter,
            ffi::Role::Buffer => Self::Buffer,
            _ => Self::Attribute,
        }
    }
}

impl Index<ValueId> for GraphFacts {
    type Output = Value;
    fn index(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
}

impl Index<NodeId> for GraphFacts {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Index<BlockId> for GraphFacts {
    type Output = Block;
    fn index(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_nest() {
        use ValueType::{Dict, Int, List, Optional, Str, Tensor, Tuple};
        assert_eq!(ValueType::parse("List[int]"), List(Box::new(Int)));
        assert_eq!(ValueType::parse("Optional[List[Tensor]]"), Optional(Box::new(List(Box::new(Tensor)))));
        assert_eq!(
            ValueType::parse("Tuple[Dict[str, Tensor], int]"),
            Tuple(vec![Dict(Box::new(Str), Box::new(Tensor)), Int])
        );
        assert_eq!(ValueType::parse("Tuple[()]"), Tuple(Vec::new()));
        assert_eq!(ValueType::parse("__torch__.M"), ValueType::Other("__torch__.M".to_owned()));
        for text in ["Optional[List[Tensor]]", "Tuple[Dict[str, Tensor], int]", "Tuple[()]", "__torch__.M"] {
            assert_eq!(ValueType::parse(text).to_string(), text);
        }
    }
}
