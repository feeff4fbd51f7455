//! Programs: seeds, text form, resolved view, validation.

use primer_search::dna::{Dna, NodeKind, Op, Primitive, seeds};
use primer_search::error::{Error, InstructionProblem};
use proptest::prelude::*;

/// `number name(inputs)` of each line of the resolved view, without the two inputs.
fn resolved(dna: &Dna) -> Vec<String> {
    let view = dna.inline_all().unwrap().to_string();
    let line = |l: &str| l.split('#').next().unwrap().split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    view.lines().skip(2).map(line).collect()
}

#[test]
fn the_transformer_resolves_to_the_papers_listing() {
    let dna = seeds::transformer().unwrap();
    assert_eq!(dna.subprograms.len(), 10);
    let inlined = dna.inline_all().unwrap();
    assert_eq!(inlined.output, 38, "Fig. 24 numbers the instructions 2..=38");
    assert!(inlined.nodes[2..].iter().all(|node| node.live || node.kind == NodeKind::Split(8)));
    assert_eq!(dna.inlined_size().live, 34);
    let view = dna.inline_all().unwrap().to_string();
    assert!(view.contains("  14 C_MUL(13) C 0.25   # S1 h4\n"), "{view}");
    assert!(view.contains("  13 CONV_1X1(10) dim 2/8"), "{view}");
}

/// Paper Fig. 25, with its numbers.
#[test]
fn primer_resolves_to_the_papers_listing() {
    let dna = seeds::discovered().unwrap();
    let expected = "2 RED_MEAN(0)|3 DIFFERENCE(0, 2)|4 MULTIPLY(3, 0)|5 RED_MEAN(4)|6 ABS_ROOT(5)|7 DIVIDE(3, 6)|\
        8 SCALE(7)|9 SHIFT(8)|10 BRANCH_8(9)|11 BRANCH_8(9)|12 MAX(10) C|13 CONV_1X1(10) dim|14 DCONV_3X1(13)|\
        15 C_MUL(14) C|16 MAX(11) C|17 CONV_1X1(10) dim|18 DCONV_3X1(17)|19 C_MUL(18) C|20 CONV_1X1(19) dim|\
        21 MAX(10) C|22 CONV_1X1(10) dim|23 DCONV_3X1(22)|24 C_MUL(23) C|25 T_MAT_MUL(20, 19)|26 EXP(25)|\
        27 MASK(26)|28 RED_SUM(27)|29 DIVIDE(27, 28)|30 TANH(29)|31 SCALE(30)|32 MAT_MUL(31, 24)|33 MERGE_8(32)|\
        34 CONV_1X1(33) dim|35 ADD(0, 34)|36 ADD(35, 34)|37 BRANCH_2(36)|38 BRANCH_2(36)|39 CONV_1X1(37) dim|\
        40 MERGE_2(39)|41 SHIFT(40)|42 MAX(41) C|43 SQUARE(42)|44 CONV_1X1(43) dim|45 RED_MEAN(44)|\
        46 DIFFERENCE(44, 45)|47 MULTIPLY(46, 44)|48 RED_MEAN(47)|49 ABS_ROOT(48)|50 DIVIDE(46, 49)|51 SCALE(50)|\
        52 SHIFT(51)|53 ADD(36, 52)|54 ADD(53, 52)";
    let lines: Vec<String> = resolved(&dna).iter().map(|l| l.replace(", ", ",")).collect();
    for (line, wanted) in lines.iter().zip(expected.split('|')) {
        let wanted = wanted.trim().replace(", ", ",");
        assert!(line.starts_with(&wanted), "{line} is not {wanted}");
    }
    assert_eq!(lines.len(), 53);
    let inlined = dna.inline_all().unwrap();
    let dead: Vec<usize> = (2..inlined.nodes.len()).filter(|&n| !inlined.nodes[n].live).collect();
    assert_eq!(dead, [11, 12, 13, 14, 15, 16, 21, 38]);
    assert_eq!(dna.constants, [-1.12, -0.57]);
}

#[test]
fn primer_ez_has_one_more_convolution_and_one_square() {
    let dna = seeds::primer_ez().unwrap();
    let seed = seeds::transformer().unwrap();
    assert_eq!(dna.inlined_size().live, seed.inlined_size().live + 4);
    let squares = dna.inline_live().unwrap().nodes;
    let count = |wanted| {
        let is = |kind: &NodeKind| matches!(kind, NodeKind::Primitive { primitive, .. } if *primitive == wanted);
        squares.iter().filter(|n| is(&n.kind)).count()
    };
    assert_eq!((count(Primitive::DConv3x1), count(Primitive::Square)), (3, 1));
}

#[test]
fn seeds_survive_printing() {
    for (name, _) in seeds::PROGRAMS {
        let dna = seeds::by_name(name).unwrap().unwrap();
        assert_eq!(dna.to_string().parse::<Dna>().unwrap(), dna);
    }
    assert!(seeds::by_name("vanilla").is_none());
    let dna = seeds::with_banks(seeds::transformer().unwrap(), 4, 16, [2, 8, 1, 1, 4, 16]).unwrap();
    assert_eq!((dna.subprograms[0].instructions[1].branch, dna.constants[1]), (4, 0.25));
    assert!(seeds::with_banks(seeds::transformer().unwrap(), 3, 16, dna.dims).is_err());
}

#[test]
fn the_text_form_keeps_silent_genes() {
    let text =
        "constants 1e-9 -0.0\ndims 1 2 4 8 12 16\n\nS0 MAIN:\n  h2 = EXP(h1) b4 ~ h1 c1 d5\n  h3 = MAX(h2) c1 ~ d0\n";
    let dna: Dna = text.parse().unwrap();
    let first = dna.subprograms[0].instructions[0];
    assert_eq!((first.input_2, first.constant, first.dim, first.branch), (1, 1, 5, 4));
    let printed = dna.to_string();
    assert!(printed.ends_with("h2 = EXP(h1) b4 ~ h1 c1 d5\n  h3 = MAX(h2) c1 ~ d0\n"), "{printed}");
    let again: Dna = printed.parse().unwrap();
    assert_eq!(again.constants[1].to_bits(), (-0.0f64).to_bits());
    assert_eq!(again, dna);
}

#[test]
fn errors_name_line_column_and_cause() {
    let head = "constants 0.0 1.0\ndims 1 1 1 1 1 1\nS0:\n";
    let cases = [
        ("h2 = FROB(h0)", 4, 6, "FROB"),
        ("h2 = EXP(x0)", 4, 10, "x0"),
        ("h2 = EXP(h0) c0", 4, 14, "after '~'"),
        ("h2 = MAX(h0)", 4, 13, "needs a constant"),
        ("h2 = MAX(h0) c0 c1", 4, 17, "second gene"),
        ("h2 = MAX(h0) c0 ~ c1", 4, 19, "before '~'"),
        ("h3 = EXP(h0)", 4, 1, "next state is h2"),
        ("h2 = EXP(h0", 4, 12, "end of the line"),
        ("h2 = EXP(h0) é", 4, 14, "é"),
        ("h2 = EXP(h99999999999999999999999)", 4, 10, "h and a number"),
        ("S2:", 4, 1, "next subprogram is S1"),
        ("dims 1 1 1 1 1 1", 4, 1, "second line"),
        ("  # comment only\n  42", 5, 3, "42"),
    ];
    for (text, line, column, part) in cases {
        match format!("{head}{text}").parse::<Dna>() {
            Err(Error::Parse { line: l, column: c, reason }) => {
                assert_eq!((l, c), (line, column), "{text}: {reason}");
                assert!(reason.contains(part), "{text}: {reason}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!("".parse::<Dna>(), Err(Error::Parse { .. })));
    assert!(matches!("constants 0 0\ndims 1 1 1 1 1 1".parse::<Dna>(), Err(Error::Program(_))));
    assert!(matches!("constants 0 inf\ndims 1 1 1 1 1 1".parse::<Dna>(), Err(Error::Parse { .. })));
    assert!(matches!("constants 0 0\ndims 1 1 1 1 1 3\nS0:\nh2 = EXP(h0)".parse::<Dna>(), Err(Error::Program(_))));
}

#[test]
fn validation_names_the_instruction() {
    let broken = |change: fn(&mut Dna)| {
        let mut dna = seeds::transformer().unwrap();
        change(&mut dna);
        match dna.validate() {
            Err(Error::Instruction { subprogram, instruction, problem }) => (subprogram, instruction, problem),
            other => panic!("{other:?}"),
        }
    };
    let (s, i, problem) = broken(|dna| dna.subprograms[4].instructions[1].input_1 = 3);
    assert_eq!((s, i), (4, 1));
    assert_eq!(problem, InstructionProblem::Input { input: 1, state: 3, available: 3 });
    let (.., problem) = broken(|dna| dna.subprograms[5].instructions[0].op = Op::Call(5));
    assert_eq!(problem, InstructionProblem::Callee { callee: 5, last: 9 });
    let (.., problem) = broken(|dna| dna.subprograms[5].instructions[0].branch = 3);
    assert_eq!(problem, InstructionProblem::Branch(3));
    let (.., problem) = broken(|dna| dna.subprograms[9].instructions[0].constant = 2);
    assert_eq!(problem, InstructionProblem::Constant(2));
    let (.., problem) = broken(|dna| dna.subprograms[9].instructions[0].dim = 6);
    assert_eq!(problem, InstructionProblem::Dim(6));
    let mut dna = seeds::transformer().unwrap();
    dna.subprograms[4].instructions[1].input_1 = 9;
    let error = dna.validate().unwrap_err().to_string();
    assert_eq!(error, "subprogram S4, instruction h3: input 1 reads h9, but only h0..h2 exist before it");
}

#[test]
fn a_program_that_doubles_at_each_level_is_counted_and_refused() {
    let mut text = "constants 0 0\ndims 1 1 1 1 1 1\n".to_owned();
    for s in 0..80 {
        text += &format!("S{s}:\n h2 = S{0}(h0, h1)\n h3 = S{0}(h2, h1)\n", s + 1);
    }
    text += "S80:\n h2 = ADD(h0, h1)\n";
    let dna: Dna = text.parse().unwrap();
    assert_eq!(dna.inlined_size().live, u64::MAX);
    assert!(dna.inline_live().is_err() && dna.inline_all().is_err());
    // A long chain of single calls is refused too, before anything recurses.
    let mut text = "constants 0 0\ndims 1 1 1 1 1 1\n".to_owned();
    for s in 0..20_000 {
        text += &format!("S{s}:\n h2 = S{}(h0, h1)\n", s + 1);
    }
    text += "S20000:\n h2 = ADD(h0, h1)\n";
    let dna: Dna = text.parse().unwrap();
    assert_eq!(dna.inlined_size().depth, 20_000);
    assert!(dna.inline_live().is_err());
}

proptest! {
    /// Mangled programs are read or refused, and what is read survives printing.
    #[test]
    fn the_parser_never_panics(
        which in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, "[ -~\\n\u{e9}]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = [seeds::TRANSFORMER, seeds::PRIMER_EZ, seeds::PRIMER][which].chars().collect();
        for (at, kind, new) in edits {
            let at = at.index(text.len() + 1);
            let end = if kind == 0 { at } else { (at + usize::from(kind)).min(text.len()) };
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(dna) = text.parse::<Dna>() {
            prop_assert_eq!(dna.to_string().parse::<Dna>().unwrap(), dna);
        }
    }

    /// So is text that has nothing to do with programs.
    #[test]
    fn the_parser_takes_any_text(text in "\\PC{0,60}") {
        prop_assert!(text.parse::<Dna>().is_err());
    }
}
