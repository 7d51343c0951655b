#!/usr/bin/env bash
# `paper`: Freeze-Omni's six stages around Qwen2-7B-Instruct at the paper's sizes (arXiv 2411.00774), on 8 GPUs of 80 GB.
#
#   reference_model/runs/paper.sh --dry-run          # memory and time of every stage, without data or GPU
#   ASR=... SPEECH=... reference_model/runs/paper.sh  # what was stopped goes on
#
# Not run as a whole by anybody yet: checked by the dry run, and stage by stage on `tiny`. What the paper leaves open (rates,
# steps, batches of all but input stage 3) is a choice. On several nodes, set ACCELERATE to e.g. "accelerate launch --num_machines 4 ...".
set -euo pipefail
cd "$(dirname "$0")/../.."

ASR=${ASR:-data/asr}           # 110,000 h of Chinese and English speech with transcripts: shards, or a manifest
SPEECH=${SPEECH:-data/speech}  # 3,000 h of one voice, with texts
TURNS=${TURNS:-data/turns}     # `fobench train render --set input`: 60,000 questions, backchannels, interruptions
NOISES=${NOISES:-data/noises}
OUT=${OUT:-runs/paper}
DEVICES=${DEVICES:-8}
TFLOPS=${TFLOPS:-300}          # of one GPU at this work, for the dry run
FULL_TFLOPS=${FULL_TFLOPS:-60} # and in float32
FOBENCH=${FOBENCH:-.venv/bin/fobench}
ACCELERATE=${ACCELERATE:-.venv/bin/accelerate launch --multi_gpu --num_processes $DEVICES --num_machines 1 --mixed_precision no --dynamo_backend no}
DRY=${1:-}

stage() {
  if [[ $DRY ]]; then
    "$FOBENCH" train "$@" --config paper --dry-run --devices "$DEVICES" --tflops "$TFLOPS"
    echo
  else
    $ACCELERATE --module fobench train "$@" --config paper --set precision=bf16 --set workers=8
  fi
}

# Input 1: the encoder alone, by CTC; half the batches in full context, half in chunks. One pass over the speech.
stage input-1 --out "$OUT/input-1" --data "$ASR" --noises "$NOISES" --dynamic \
  --set steps=125000 --set batch_s=3200 --set batch_most=1600 --set lr=1e-3 --set warmup=5000 --set validate_every=2500

# Input 2: encoder, adapter and prompts through the frozen LLM, which writes down what is said. The same speech.
stage input-2 --out "$OUT/input-2" --init "$OUT/input-1" --data "$ASR" --noises "$NOISES" --dynamic \
  --set steps=125000 --set batch_s=800 --set batch_most=400 --set accumulate=4 --set lr=2e-4 --set warmup=2000

# The LLM's own answers to the questions, in writing.
[[ $DRY ]] || "$FOBENCH" train replies --plan "$TURNS" --out "$OUT/replies.jsonl" --backbone qwen2-7b --dtype bfloat16 --count 60000

# Input 3: prompt embeddings learn to have spoken questions answered as written ones; the state head learns beside them. The paper's
# own settings: batches of 4 a GPU, AdamW at 6e-4 with betas 0.9 and 0.99, 200 steps of warm-up, gradients clipped at 5.
stage input-3 --out "$OUT/input-3" --init "$OUT/input-2" --data "$TURNS" --noises "$NOISES" --replies "$OUT/replies.jsonl" \
  --count 60000 --workers 8 --set steps=15000 --set batch_s=200 --set batch_most=32 --set lr=6e-4 --set warmup=200 \
  --set "betas=[0.9,0.99]" --set clip=5

# Output 1: a codec of 40 frames a second with one codebook of 1,024, against discriminators; in float32 throughout.
TFLOPS=$FULL_TFLOPS stage output-1 --out "$OUT/output-1" --data "$SPEECH" --adversarial \
  --set steps=400000 --set batch_s=205 --set batch_most=128 --set lr=2e-4 --set validate_every=5000

# Output 2: text to codes, NAR prefill and AR with shared layers.
stage output-2 --out "$OUT/output-2" --data "$SPEECH" --codec "$OUT/output-1" \
  --set steps=100000 --set batch_s=3200 --set batch_most=1600 --set lr=5e-4 --set warmup=2000 --set validate_every=2500

# Output 3: prefix tuning, on the LLM's hidden states of the same answers.
stage output-3 --out "$OUT/output-3" --replies "$OUT/replies.jsonl" --codec "$OUT/output-1" --speech "$OUT/output-2" \
  --set steps=12000 --set batch_s=1600 --set batch_most=800 --set lr=5e-4

# One checkpoint of our own layout; `fobench run --checkpoint` takes it.
[[ $DRY ]] || "$FOBENCH" train assemble --config paper --input "$OUT/input-2" --states "$OUT/input-3" --codec "$OUT/output-1" \
  --speech "$OUT/output-3" --out "$OUT/paper.safetensors"
