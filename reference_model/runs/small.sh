#!/usr/bin/env bash
# `small`, from texts to one checkpoint: Freeze-Omni around the frozen SmolLM2-135M, on a CPU or one GPU.
#
#   reference_model/runs/small.sh            # all of it; what is done is gone past, what was stopped goes on
#   reference_model/runs/small.sh --dry-run  # memory and time of every stage; nothing is read or written
#   DATA=/data/qa_text CLIPS=/data reference_model/runs/small.sh
#   GPU=1 PRECISION=bf16 BOOKS=/data/novels reference_model/runs/small.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

DATA=${DATA:-../shared/data/qa_text}  # folder of question sets
CLIPS=${CLIPS:-../shared/data}        # folder of recordings: noises, rooms, people's sentences
BOOKS=${BOOKS:-}                      # folder of novels, .txt: four in ten of Kokoro's sentences are then of them
OUT=${OUT:-runs/small}
GPU=${GPU:-}                          # 1: clips are kept in its memory, and heard anew by both passes
WORKERS=${WORKERS:-1}                 # processes that load data
PRECISION=${PRECISION:-no}            # bf16 on a GPU; on a CPU it is slower
FOBENCH=${FOBENCH:-.venv/bin/fobench}
DRY=${1:-}

train() {  # a command of fobench train; a dry run passes by what is no stage
  case "$DRY $1" in
    "--dry-run "*put-[123]|"--dry-run reread") "$FOBENCH" train "$@" --set precision="$PRECISION" --dry-run; echo ;;
    "--dry-run "*) ;;
    *put-[123]|*reread) echo "== $1"; "$FOBENCH" train "$@" --set precision="$PRECISION" ;;
    *) echo "== $1"; "$FOBENCH" train "$@" ;;
  esac
}

once() {  # FILE COMMAND...: the command, unless its file is there
  local file=$1; shift
  if [[ $DRY ]] || [[ ! -e $file ]]; then "$@"; fi
}

# ---- 1. data: texts, spoken by many voices; the reply's voice with its latents; the LLM's own answers -----------------

# (renderings can share a folder: start as many as there are cores)
train render --set input --set output --set natural --out "$OUT/data/{set}" --texts "$DATA" ${BOOKS:+--books "$BOOKS"}
once "$OUT/data/replies.jsonl" train replies --plan "$OUT/data/input" --out "$OUT/data/replies.jsonl"
once "$OUT/data/latents" train latents --plan "$OUT/data/output" --out "$OUT/data/latents" --hours 2
once "$OUT/data/spoken" train latents --plan "$OUT/data/output" --replies "$OUT/data/replies.jsonl" \
  --out "$OUT/data/spoken" --hours 20 --silent --noise 0

# ---- 2. listening: units of writing by CTC, from Whisper tiny.en made chunk-causal ------------------------------------

HEAR=(--data "$OUT/data/input" --data "$OUT/data/natural" --real "$CLIPS/librispeech_train_clean_3spk/manifest.jsonl"
  --noises "$CLIPS/noise_misc" --rooms "$CLIPS/rir_small" --times 6)

train input-1 --config small --out "$OUT/input-1" --set workers="$([[ $GPU ]] && echo 0 || echo "$WORKERS")" "${HEAR[@]}" \
  ${GPU:+--on-device}

# ... and all of a turn again, once it is over: on a GPU with changes to Whisper's own encoder, by hearing the clips anew;
# elsewhere from what that makes of them as it is, which is worked out once

if [[ $GPU ]]; then
  train reread --config small --out "$OUT/reread" --adapter "$OUT/input-1" "${HEAR[@]}" --on-device
else
  train frames "${HEAR[@]}" --out "$OUT/data/frames"
  train reread --config small --out "$OUT/reread" --frames "$OUT/data/frames" --adapter "$OUT/input-1" --data "$OUT/data/input"
fi

# ---- 3. speaking: codec, then speech decoder, then the network that reads the LLM's thoughts --------------------------

train output-1 --config small --out "$OUT/output-1" --latents "$OUT/data/latents"
train output-2 --config small --out "$OUT/output-2" --latents "$OUT/data/spoken" --codec "$OUT/output-1"
train output-3 --config small --out "$OUT/output-3" --silent --noise 0 --replies "$OUT/data/replies.jsonl" \
  --codec "$OUT/output-1" --speech "$OUT/output-2"

# ---- 4. when to answer: the state head, of what the trained listener and the LLM make of situations ------------------
# (input stage 2 is for adapters whose outputs are rows for the LLM; that of `small` spells, and has nothing to learn there)

train input-3 --config small --out "$OUT/input-3" --init "$OUT/input-1" --workers "$WORKERS" \
  --data "$OUT/data/input" --real "$CLIPS/librispeech_train_clean_3spk/manifest.jsonl" \
  --noises "$CLIPS/noise_misc" --rooms "$CLIPS/rir_small"

# ---- 5. one checkpoint, judged ---------------------------------------------------------------------------------------

train unit-lm --units "$OUT/input-1" --texts "$DATA" --out "$OUT/lm.safetensors"
train assemble --config small --lm "$OUT/lm.safetensors" --input "$OUT/input-1" --states "$OUT/input-3" --codec "$OUT/output-1" \
  --reread "$OUT/reread" --speech "$OUT/output-3" --out "$OUT/small.safetensors"
train beam-search --second-pass --tune --valid "$OUT/data/input" --checkpoint "$OUT/small.safetensors" --lm "$OUT/lm.safetensors"
train say --model "$OUT/small.safetensors" --texts "$OUT/data/output/plan.jsonl"
[[ $DRY ]] || "$FOBENCH" run --checkpoint "$OUT/small.safetensors" --output "$OUT/run"
