#!/usr/bin/env bash
# `small`, from texts to a checkpoint: Freeze-Omni for any frozen LLM, on a CPU or one GPU.
#
#   reference_model/runs/small.sh            # all steps; a second call skips completed steps and resumes
#   reference_model/runs/small.sh --dry-run  # memory and time of every stage, without reading or writing files
#   DATA=/data/qa_text CLIPS=/data reference_model/runs/small.sh
#   GPU=1 PRECISION=bf16 BOOKS=/data/novels reference_model/runs/small.sh
#
# An earlier checkpoint, with a head and a speech decoder for one LLM, becomes one for any (OLD: its folder or file):
#
#   fobench train input-3 --config small --init OLD ...                          # as in step 4
#   fobench train assemble --config small --base OLD --blank-rows 0.42 --states runs/any/input-3 --out runs/any/small.safetensors
#
# so its decoder keeps its weights, with zeros where the LLM's embeddings stood. To teach it to do without these as well:
# fobench train output-2 --config small --teacher OLD --texts runs/small/data/output/plan.jsonl, then assemble with --speech.
#
#   python -m reference_model.train.release.package_weights runs/any/small.safetensors
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/qa_text}  # folder of question sets
CLIPS=${CLIPS:-../shared/data}        # folder of recordings: noises, room responses, sentences of human speakers
BOOKS=${BOOKS:-}                      # folder of novels (.txt): four in ten sentences of Kokoro are then from them
REAL=${REAL:-$CLIPS/librispeech_train_clean_3spk/manifest.jsonl}  # sentences of people; of split "valid": kept aside
LLMS=${LLMS:-smollm2-135m}            # the LLMs from whose numbers the state head learns the turn's end; the first validates
OUT=${OUT:-runs/small}
GPU=${GPU:-}                          # 1: clips stay in GPU memory, and both passes encode them in every epoch
WORKERS=${WORKERS:-1}                 # data-loading processes
PRECISION=${PRECISION:-no}            # bf16 on a GPU; slower on a CPU
FOBENCH=${FOBENCH:-.venv/bin/fobench}
DRY=${1:-}

train() {  # runs a command of fobench train; a dry run skips commands that are not stages
  case "$DRY $1" in
    "--dry-run "*put-[123]|"--dry-run reread") "$FOBENCH" train "$@" --set precision="$PRECISION" --dry-run; echo ;;
    "--dry-run "*) ;;
    *put-[123]|*reread) echo "== $1"; "$FOBENCH" train "$@" --set precision="$PRECISION" ;;
    *) echo "== $1"; "$FOBENCH" train "$@" ;;
  esac
}

once() {  # FILE COMMAND...: runs the command unless FILE exists
  local file=$1; shift
  if [[ $DRY ]] || [[ ! -e $file ]]; then "$@"; fi
}

# ---- 1. data: texts rendered by many voices; latents of the reply voice; replies of the LLM ---------------------------

# (several processes can render into the same folder, e.g. one per core)
train render --set input --set output --set natural --out "$OUT/data/{set}" --texts "$DATA" ${BOOKS:+--books "$BOOKS"}
once "$OUT/data/replies.jsonl" train replies --plan "$OUT/data/input" --out "$OUT/data/replies.jsonl"
once "$OUT/data/latents" train latents --plan "$OUT/data/output" --out "$OUT/data/latents" --hours 2
once "$OUT/data/spoken" train latents --plan "$OUT/data/output" --replies "$OUT/data/replies.jsonl" \
  --out "$OUT/data/spoken" --hours 20 --silent --noise 0

# ---- 2. speech input: BPE tokens by CTC, from Whisper tiny.en with chunk-causal attention -----------------------------

ASR_DATA=(--data "$OUT/data/input" --data "$OUT/data/natural" --real "$REAL"
  --noises "$CLIPS/noise_misc" --rooms "$CLIPS/rir_small" --times 6)

train input-1 --config small --out "$OUT/input-1" --set workers="$([[ $GPU ]] && echo 0 || echo "$WORKERS")" "${ASR_DATA[@]}" \
  ${GPU:+--on-device}

# second-pass recognition with full context: on a GPU Whisper's encoder is trained with it (LoRA) on augmented clips; otherwise the
# features of the frozen encoder are computed once

if [[ $GPU ]]; then
  train reread --config small --out "$OUT/reread" --adapter "$OUT/input-1" "${ASR_DATA[@]}" --on-device
else
  train frames "${ASR_DATA[@]}" --out "$OUT/data/frames"
  train reread --config small --out "$OUT/reread" --frames "$OUT/data/frames" --adapter "$OUT/input-1" --data "$OUT/data/input"
fi

# ---- 3. speech output: codec, speech decoder ---------------------------------------------------------------------------
# (output stage 3 ties a decoder to one LLM, by a prefix network over its hidden states:
#   fobench train output-3 --config small --backbone NAME --silent --noise 0 --replies "$OUT/data/replies.jsonl" \
#     --codec "$OUT/output-1" --speech "$OUT/output-2" --out "$OUT/output-3"       # then step 5 with --speech "$OUT/output-3")

train output-1 --config small --out "$OUT/output-1" --latents "$OUT/data/latents"
train output-2 --config small --out "$OUT/output-2" --latents "$OUT/data/spoken" --codec "$OUT/output-1"

# ---- 4. turn-taking: the state head, on features of the trained speech input and what every LLM tells ------------------
# (input stage 2 trains adapters whose outputs are LLM embeddings; the CTC adapter of `small` skips it)

train input-3 --config small --out "$OUT/input-3" --init "$OUT/input-1" --workers "$WORKERS" \
  --data "$OUT/data/input" --real "$REAL" $(printf -- '--backbone %s ' $LLMS) \
  --noises "$CLIPS/noise_misc" --rooms "$CLIPS/rir_small" --listen-weight 2 --set lr=2e-3 --set weight_decay=0.1

# ---- 5. checkpoint and evaluation ---------------------------------------------------------------------------------------

train unit-lm --units "$OUT/input-1" --texts "$DATA" --out "$OUT/lm.safetensors"
train assemble --config small --lm "$OUT/lm.safetensors" --input "$OUT/input-1" --states "$OUT/input-3" --codec "$OUT/output-1" \
  --reread "$OUT/reread" --speech "$OUT/output-2" --out "$OUT/small.safetensors"
train beam-search --second-pass --tune --valid "$OUT/data/input" --checkpoint "$OUT/small.safetensors" --lm "$OUT/lm.safetensors"
train say --model "$OUT/small.safetensors" --texts "$OUT/data/output/plan.jsonl"
[[ $DRY ]] || "$FOBENCH" run --checkpoint "$OUT/small.safetensors" --output "$OUT/run"
