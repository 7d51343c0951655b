#!/usr/bin/env bash
# `paper`: the six training stages of Freeze-Omni with Qwen2-7B-Instruct at the paper's sizes (arXiv 2411.00774), on 8 GPUs of 80 GB.
#
#   reference_model/runs/paper.sh --dry-run          # memory and time of every stage, without data or GPU
#   ASR=... SPEECH=... reference_model/runs/paper.sh  # a second call resumes
#
# The complete script has not been run: the dry run and each stage with `tiny` are tested. Hyper-parameters that the paper does not
# give (rates, steps and batches of all stages but input stage 3) are our choice. On several nodes, set ACCELERATE to e.g. "accelerate launch --num_machines 4 ...".
set -euo pipefail
cd "$(dirname "$0")/../.."

ASR=${ASR:-data/asr}           # 110,000 h of Chinese and English speech with transcripts: shards, or a manifest
SPEECH=${SPEECH:-data/speech}  # 3,000 h of one voice, with texts
TURNS=${TURNS:-data/turns}     # `fobench train render --set input`: 60,000 questions, backchannels, interruptions
NOISES=${NOISES:-data/noises}
OUT=${OUT:-runs/paper}
DEVICES=${DEVICES:-8}
TFLOPS=${TFLOPS:-300}          # sustained by one GPU, for the dry run
FULL_TFLOPS=${FULL_TFLOPS:-60} # the same in float32
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

# Input 1, ASR pretraining: the encoder by CTC; half of the batches with full context, half with chunks. One epoch.
stage input-1 --out "$OUT/input-1" --data "$ASR" --noises "$NOISES" --dynamic \
  --set steps=125000 --set batch_s=3200 --set batch_most=1600 --set lr=1e-3 --set warmup=5000 --set validate_every=2500

# Input 2, adapter training: encoder, adapter and prompts through the frozen LLM, which transcribes the speech. The same data.
stage input-2 --out "$OUT/input-2" --init "$OUT/input-1" --data "$ASR" --noises "$NOISES" --dynamic \
  --set steps=125000 --set batch_s=800 --set batch_most=400 --set accumulate=4 --set lr=2e-4 --set warmup=2000

# Replies of the LLM to the questions, in text.
[[ $DRY ]] || "$FOBENCH" train replies --plan "$TURNS" --out "$OUT/replies.jsonl" --backbone qwen2-7b --dtype bfloat16 --count 60000

# Input 3, prompt and turn-state training: prompt embeddings are trained to give spoken questions the replies of written ones, together
# with the state head. The paper's settings: batches of 4 per GPU, AdamW at 6e-4 with betas 0.9 and 0.99, 200 warm-up steps, gradients
# clipped at 5.
stage input-3 --out "$OUT/input-3" --init "$OUT/input-2" --data "$TURNS" --noises "$NOISES" --replies "$OUT/replies.jsonl" \
  --count 60000 --workers 8 --set steps=15000 --set batch_s=200 --set batch_most=32 --set lr=6e-4 --set warmup=200 \
  --set "betas=[0.9,0.99]" --set clip=5

# Output 1: a codec of 40 frames per second with one codebook of 1,024 codes, with discriminators; in float32.
TFLOPS=$FULL_TFLOPS stage output-1 --out "$OUT/output-1" --data "$SPEECH" --adversarial \
  --set steps=400000 --set batch_s=205 --set batch_most=128 --set lr=2e-4 --set validate_every=5000

# Output 2, text-to-codec speech LM: NAR prefill and AR decoding with shared layers.
stage output-2 --out "$OUT/output-2" --data "$SPEECH" --codec "$OUT/output-1" \
  --set steps=100000 --set batch_s=3200 --set batch_most=1600 --set lr=5e-4 --set warmup=2000 --set validate_every=2500

# Output 3, prefix tuning: with the LLM's hidden states of the same replies.
stage output-3 --out "$OUT/output-3" --replies "$OUT/replies.jsonl" --codec "$OUT/output-1" --speech "$OUT/output-2" \
  --set steps=12000 --set batch_s=1600 --set batch_most=800 --set lr=5e-4

# The assembled checkpoint, for `fobench run --checkpoint`.
[[ $DRY ]] || "$FOBENCH" train assemble --config paper --input "$OUT/input-2" --states "$OUT/input-3" --codec "$OUT/output-1" \
  --speech "$OUT/output-3" --out "$OUT/paper.safetensors"
