//! The paper's test of perceptual realism, "real versus fake": participants see a photograph and a recolored version of it,
//! each for one second, and say which one is fake (Zhang, Isola and Efros 2016, section 3.1). [`create`] prepares a study from
//! folders of pictures, [`server`] shows it to participants, [`score`] says how often they were fooled.
//!
//! The two pictures of a pair are shown one after the other, left and then right, as in the authors' tool
//! (github.com/phillipi/AMT_Real_vs_Fake): 900 ms without a picture, the first for 1 s, 600 ms without, the second for 1 s.
//! Nothing is computed here that is shown: recolored pictures come from `colorize` or another program.

pub mod design;
pub mod secret; // unguessable names
pub mod trial; // its words

mod assignment; // of participants to algorithms
pub mod pictures; // the file of all pictures
pub mod prepare;
mod session_plan; // the trials of a session // pairs of pictures

pub mod answer;
pub mod create;
pub mod database;
pub mod session; // what a participant may do next

mod recorder; // durable changes, in groups
pub mod trial_record; // trials as they ended

pub mod score;
pub mod score_files;
mod score_table;
mod tally; // progress // and pictures

pub mod server;
