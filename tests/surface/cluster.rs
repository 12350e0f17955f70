//! The `sbatch` files in `experiments/cluster`, on stand-ins for Slurm's programs.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SPEC: &str = "\
name: tiny
data:
  source: { scenes: { train: 64, val: 16 } }
  crop: 29
backbone: { alexnet: { stem: small, width: 0.1, fc: 16 } }
sweep: { grid: { pretrain.train.batch: [4, 8] } }
stages:
  pretrain:
    pretext:
      task: { colorization: {} }
      train: { steps: 4, batch: 8, optimizer: { adam: { lr: 1e-3 } } }
  probe:
    linear_probe:
      backbones: { random: { init: msra }, colorization: { stage: pretrain } }
      probe: { dimensions: 100, augment: false }
      train: { steps: 4, batch: 8, optimizer: { sgd: { lr: 0.01 } } }
";

/// Runs the tasks of an array at once, or one job, with the variables that Slurm sets; logs as `--output` names them.
const SBATCH: &str = r#"#!/usr/bin/env bash
set -eu
script=$1
[[ -f $script ]] || { echo "sbatch: no file $script" >&2; exit 1; }
value() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
export SLURM_JOB_ID=100 SLURM_CPUS_PER_TASK=1
array=$(value array)
[[ -n $array ]] || exec bash "$@"
first=${array%-*} last=${array#*-} failed=0 jobs=()
export SLURM_ARRAY_TASK_MIN=$first SLURM_ARRAY_TASK_MAX=$last
for task in $(seq "$first" "$last"); do
  SLURM_ARRAY_TASK_ID=$task bash "$@" > "log-$task" 2>&1 & jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || failed=$?; done
exit "$failed"
"#;

/// Runs a command as one task; sends it SIGUSR1 once a run directory is there, where the test asks for that.
const SRUN: &str = r#"#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
echo "srun: $*" >> srun-calls
[[ -z ${ONLY_CALLED:-} ]] || exit 0
if [[ -n ${SLURM_NTASKS:-} ]]; then
  for task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task "$@" & done
  wait
  exit 0
fi
[[ -n ${ANNOUNCED:-} ]] || exec "$@"
"$@" & pid=$!
until compgen -G 'results/runs/tiny/pretrain*/metrics.jsonl' > /dev/null; do sleep 0.05; done
kill -USR1 "$pid"
wait "$pid"
"#;

const SCONTROL: &str = "#!/usr/bin/env bash\necho \"$*\" >> scontrol-calls\n";

/// A folder with the spec, the files of `experiments/cluster`, and stand-ins in `bin`.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let (bin, cluster) = (home.path().join("bin"), home.path().join("experiments/cluster"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&cluster).unwrap();
        for (name, text) in [("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)] {
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_hueristic"), bin.join("hueristic")).unwrap();
        for file in files() {
            fs::copy(&file, cluster.join(file.file_name().unwrap())).unwrap();
        }
        fs::write(home.path().join("tiny.yaml"), SPEC).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn sbatch(&self, arguments: &[&str], variables: &[&str]) -> Output {
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.arg(self.path().join("bin/sbatch")).args(arguments).current_dir(self.path());
        command.envs(variables.iter().map(|name| (name, "1")));
        command.env("PATH", path).env_remove("HUERISTIC_DATA").env_remove("RUST_LOG").output().unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir("experiments/cluster").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "sbatch")).collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    files
}

#[test]
fn they_are_scripts_with_their_options_first() {
    for file in files() {
        let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let text = fs::read_to_string(&file).unwrap();
        // Slurm stops reading options at the first command.
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let options = |lines: &[&str]| lines.iter().filter(|line| line.starts_with("#SBATCH ")).count();
        assert_eq!(options(&head), options(&text.lines().collect::<Vec<_>>()), "{}", file.display());
        let command = format!("sbatch {} ", file.display());
        for part in ["#SBATCH --signal=USR1@120", "#SBATCH --requeue", command.as_str()] {
            assert!(text.contains(part), "{}: no `{part}`", file.display());
        }
    }
}

#[test]
fn an_array_runs_a_sweep_to_its_table() {
    let home = Home::new();
    let done = home.sbatch(&["experiments/cluster/array.sbatch", "tiny.yaml"], &[]);
    assert!(done.status.success(), "{} {}", home.read("log-0"), String::from_utf8_lossy(&done.stderr));
    let calls = home.read("srun-calls");
    assert!(
        (0..8).all(|job| calls.contains(&format!("srun: hueristic run tiny.yaml --shard-jobs {job}/8 "))),
        "{calls}"
    );
    let table = home.read("results/runs/tiny/report/table.md");
    for row in ["random", "colorization batch=4", "colorization batch=8"] {
        assert!(table.contains(row), "no `{row}` in\n{table}");
    }
    assert_eq!(home.read("scontrol-calls"), "");
}

#[test]
fn an_announced_end_leaves_a_checkpoint_and_requeues_the_job() {
    let home = Home::new();
    fs::write(
        home.path().join("tiny.yaml"),
        SPEC.replace("steps: 4, batch: 8, optimizer: { adam", "steps: 4000, batch: 8, optimizer: { adam"),
    )
    .unwrap();
    let array = home.path().join("experiments/cluster/array.sbatch");
    let text = fs::read_to_string(&array).unwrap();
    fs::write(&array, text.replace("--array=0-7", "--array=3-3")).unwrap();
    let stopped = home.sbatch(&["experiments/cluster/array.sbatch", "tiny.yaml"], &["ANNOUNCED"]);
    let log = home.read("log-3");
    assert_eq!(stopped.status.code(), Some(130), "{log}");
    assert!(log.contains("stopped; the same command resumes"), "{log}");
    assert_eq!(home.read("scontrol-calls"), "requeue 100\n");
    assert!(home.read("srun-calls").contains("--shard-jobs 0/1 "), "jobs count from 0");
    let list = home.path().join("results/runs/tiny");
    let checkpoints =
        fs::read_dir(list).unwrap().map(|run| run.unwrap().path().join("checkpoints/last.safetensors"));
    assert_eq!(checkpoints.filter(|path| path.exists()).count(), 1);
}

/// On processors in place of the GPUs.
#[test]
fn the_processes_of_a_node_share_a_sweep_to_its_table() {
    let home = Home::new();
    let file = home.path().join("experiments/cluster/node.sbatch");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("--device cuda "), "{text}");
    fs::write(
        &file,
        text.replace("--device cuda ", "--device cpu ")
            .replace("set -euo", "export SLURM_NTASKS=2; set -euo"),
    )
    .unwrap();
    let done = home.sbatch(&["experiments/cluster/node.sbatch", "tiny.yaml"], &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let table = home.read("results/runs/tiny/report/table.md");
    for row in ["random", "colorization batch=4", "colorization batch=8"] {
        assert!(table.contains(row), "no `{row}` in\n{table}");
    }
}

#[test]
fn files_for_nodes_check_the_spec_before_the_nodes_work() {
    for name in ["node", "nodes"] {
        let home = Home::new();
        let file = format!("experiments/cluster/{name}.sbatch");
        let done = home.sbatch(&[&file, "tiny.yaml", "--seeds", "0..2"], &["ONLY_CALLED"]);
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        assert!(said.contains("tiny: 2 stages, 2 points, 2 seeds, 10 fits; nothing was trained"), "{said}");
        let calls = home.read("srun-calls");
        assert!(calls.contains("hueristic run ") && calls.lines().count() == 1, "{calls}");
        fs::write(home.path().join("tiny.yaml"), SPEC.replace("steps", "stesp")).unwrap();
        let refused = home.sbatch(&[&file, "tiny.yaml"], &["ONLY_CALLED"]);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(home.read("srun-calls"), calls, "nodes were taken for a bad spec");
    }
}

#[test]
fn a_file_without_a_spec_says_how_it_is_called() {
    for file in files() {
        let home = Home::new();
        let refused = home.sbatch(&[file.to_str().unwrap()], &[]);
        let said = format!("{}{}", String::from_utf8_lossy(&refused.stderr), home.read("log-0"));
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("usage: sbatch {} SPEC", file.display())), "{said}");
    }
}
