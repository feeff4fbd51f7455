//! The resolved view as a graph for Graphviz.

use std::fmt::{self, Write as _};

use super::{Dna, Inlined, NodeKind};
use crate::rejection::Rejection;

impl Dna {
    /// The live program, calls inlined, in the DOT language of Graphviz: an edge from what is read to what reads it.
    /// Instructions with parameters are filled; each node says where it stands in the genome.
    ///
    /// # Errors
    ///
    /// As [`Dna::inline_live`].
    pub fn to_dot(&self) -> Result<String, Rejection> {
        let mut text = String::new();
        // Writing to a string doesn't fail.
        let _ = write(self, &self.inline_live()?, &mut text);
        Ok(text)
    }
}

fn write(dna: &Dna, program: &Inlined, text: &mut String) -> fmt::Result {
    text.write_str("digraph program {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n")?;
    for (number, node) in program.nodes.iter().enumerate().filter(|(_, node)| node.live) {
        let mut style = match node.kind {
            NodeKind::Input => ", shape=ellipse",
            NodeKind::Primitive { primitive, .. } if primitive.parameter().is_some() => {
                ", style=filled, fillcolor=\"#dce9f7\""
            }
            _ => "",
        }
        .to_owned();
        if number == program.output {
            style += ", penwidth=2";
        }
        let place = node.source.map_or(String::new(), |source| {
            let name = &dna.subprograms[source.subprogram].label;
            format!("\\n{source} {name}").trim_end().to_owned()
        });
        writeln!(text, "  n{number} [label=\"{}{}{place}\"{style}];", node.name(), node.bank_values())?;
    }
    for (number, node) in program.nodes.iter().enumerate().filter(|(_, node)| node.live) {
        for input in &node.inputs {
            writeln!(text, "  n{input} -> n{number};")?;
        }
    }
    text.write_str("}\n")
}

#[cfg(test)]
mod tests {
    use crate::dna::seeds;

    #[test]
    fn every_live_node_stands_there_once_and_edges_end_at_nodes() {
        for (name, text) in seeds::PROGRAMS {
            let dna: crate::dna::Dna = text.parse().unwrap();
            let (dot, program) = (dna.to_dot().unwrap(), dna.inline_live().unwrap());
            let live = program.nodes.iter().filter(|node| node.live).count();
            assert_eq!(dot.matches("[label=").count(), live, "{name}");
            let edges: usize = program.nodes.iter().filter(|node| node.live).map(|node| node.inputs.len()).sum();
            assert_eq!(dot.matches(" -> ").count(), edges, "{name}");
            for line in dot.lines().filter(|line| line.contains(" -> ")) {
                for node in line.trim().trim_end_matches(';').split(" -> ") {
                    assert!(dot.contains(&format!("  {node} [label=")), "{name}: {line}");
                }
            }
        }
        assert!(seeds::transformer().unwrap().to_dot().unwrap().contains("S3 h2 HEAD-PROJECTION"));
    }
}
