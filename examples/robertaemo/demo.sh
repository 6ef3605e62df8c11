#!/usr/bin/env bash
# robertaEMO from speech audio and transcripts to a validated model, on the synthetic example corpus.
#
#   bash examples/robertaemo/demo.sh [OUT]        (default: demo_out)
#
# The pretrained parts are tiny and trained here, with stock fairseq tasks, on the training split alone. A stage that is
# done is not done again; delete OUT to start over. CLIPS, SEED and SCALE (percent of the training updates) may be set.
set -eEuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

OUT=${1:-demo_out}
CLIPS=${CLIPS:-1200}
SEED=${SEED:-1}
SCALE=${SCALE:-100}
export PYTHONWARNINGS=ignore
# Models this small gain nothing from more threads; where other programs run beside them, one is faster.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

LOGS=$OUT/logs
SSL=$OUT/pretrained_ssl
mkdir -p "$LOGS" "$SSL"
STARTED=$(date +%s)

trap 'echo "a stage failed; its log is in $LOGS" >&2' ERR

updates() { echo $(($1 * SCALE / 100 > 4 ? $1 * SCALE / 100 : 4)); }

# stage NUMBER TITLE PROOF COMMAND...: run COMMAND unless the file PROOF shows that it was done.
stage() {
    local number=$1 title=$2 proof=$3
    shift 3
    if [ -e "$proof" ]; then
        echo "[$number/8] $title: done before"
        return
    fi
    echo "[$number/8] $title"
    local start
    start=$(date +%s)
    "$@" # no `||` here: it would switch off the stop at the first error inside
    [ -e "$proof" ] || { echo "stage $number left no $proof; see $LOGS" >&2; exit 1; }
    echo "      $(($(date +%s) - start)) s"
}

# train LOG ARGUMENTS...: fairseq-train with its log in a file and a line of progress per interval. With the plugin imported
# stock tasks too run on today's numpy and torch.
train() {
    local log=$LOGS/$1.log
    shift
    # Without workers and read-ahead: fairseq's reading thread can abort a program that stops in mid-epoch.
    fairseq-train --user-dir emofair "$@" --seed "$SEED" --num-workers 0 --data-buffer-size 0 --log-format simple \
        --required-batch-size-multiple 1 2>&1 |
        tee "$log" | { grep --line-buffered -E "train_inner|valid \|" || true; } |
        sed -u -E 's/^.*(train_inner|valid) \|/      \1/; s/ (wps|ups|wpb|bsz|clip|train_wall|gb_free|wall|gnorm) [^|]*\|?//g' |
        cut -c1-150
}

corpus() {
    emofair prepare synthetic --out "$OUT/corpus" --clips "$CLIPS" --seed "$SEED" && touch "$OUT/corpus/.done"
}

# The conv strides of the published vq-wav2vec (a code every 10 ms, from 465 samples), with few channels. First without
# quantiser: the codes then start on features that say something, and few updates are left for them to learn.
vq_wav2vec() {
    wav2vec wav2vec 150 2e-3 --vq-type none
    python examples/robertaemo/codebook.py --checkpoint "$OUT/wav2vec/checkpoint_last.pt" --corpus "$OUT/corpus" \
        --codes 64 --out "$OUT/vq-wav2vec/start.pt" | sed 's/^/      /'
    wav2vec vq-wav2vec 40 1e-4 --vq-type kmeans --vq-vars 64 --vq-groups 2 --loss-weights "[1]" \
        --finetune-from-model "$OUT/vq-wav2vec/start.pt"
    mkdir -p "$SSL/vq-wav2vec"
    cp "$OUT/vq-wav2vec/checkpoint_last.pt" "$SSL/vq-wav2vec/vq-wav2vec_kmeans.pt"
}

# wav2vec NAME UPDATES LR ARGUMENTS...: a small wav2vec on the training audio.
wav2vec() {
    local name=$1 max_update=$2 lr=$3
    shift 3
    train "$name" "$OUT/corpus" --task audio_pretraining --arch wav2vec --criterion wav2vec --infonce \
        --conv-feature-layers "[(32,10,5),(64,8,4),(64,4,2),(64,4,2),(64,4,2),(64,1,1)]" \
        --conv-aggregator-layers "[(64,2,1),(64,3,1),(64,4,1),(64,5,1)]" --prediction-steps 8 --num-negatives 10 "$@" \
        --optimizer adam --lr "$lr" --lr-scheduler cosine --warmup-updates 20 --max-update "$(updates "$max_update")" \
        --min-sample-size 15900 --max-sample-size 16000 --batch-size 16 --disable-validation --no-epoch-checkpoints \
        --save-dir "$OUT/$name" --log-interval 40
}

# masked_lm NAME WIDTH POSITIONS UPDATES LR: a small RoBERTa on the lines in OUT/NAME.
masked_lm() {
    local name=$1 width=$2 positions=$3 max_update=$4 lr=$5
    local dictionary=()
    [ -e "$OUT/$name/dict.txt" ] && dictionary=(--srcdict "$OUT/$name/dict.txt")
    fairseq-preprocess --only-source --trainpref "$OUT/$name/train.txt" --destdir "$OUT/$name/bin" --workers 1 \
        "${dictionary[@]}" > "$LOGS/$name-preprocess.log" 2>&1
    train "$name" "$OUT/$name/bin" --task masked_lm --arch roberta_base --criterion masked_lm \
        --encoder-layers 2 --encoder-embed-dim "$width" --encoder-ffn-embed-dim $((2 * width)) --encoder-attention-heads 4 \
        --sample-break-mode eos --tokens-per-sample "$positions" --max-positions "$positions" \
        --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.01 --lr "$lr" --lr-scheduler polynomial_decay \
        --warmup-updates $((max_update / 10)) --total-num-update "$max_update" --max-update "$max_update" --batch-size 16 \
        --no-epoch-checkpoints --disable-validation --save-dir "$OUT/$name/run" --log-interval 100
}

speech_bert() {
    python examples/robertaemo/lm_data.py speech --corpus "$OUT/corpus" \
        --vq-wav2vec "$SSL/vq-wav2vec/vq-wav2vec_kmeans.pt" --splits train --out "$OUT/speech_lm"
    masked_lm speech_lm 96 2048 "$(updates 120)" 1e-3
    mkdir -p "$SSL/vq-wav2vec-Kmeans-Roberta"
    cp "$OUT/speech_lm/bin/dict.txt" "$SSL/vq-wav2vec-Kmeans-Roberta/dict.txt"
    cp "$OUT/speech_lm/run/checkpoint_last.pt" "$SSL/vq-wav2vec-Kmeans-Roberta/bert_kmeans.pt"
}

roberta() {
    python examples/robertaemo/lm_data.py text --corpus "$OUT/corpus" --vocabulary 400 --splits train --out "$OUT/text_lm"
    masked_lm text_lm 96 512 "$(updates 300)" 1e-3
    mkdir -p "$SSL/roberta.large"
    cp "$OUT/text_lm/dict.txt" "$OUT/text_lm/sentencepiece.bpe.model" "$SSL/roberta.large/"
    cp "$OUT/text_lm/run/checkpoint_last.pt" "$SSL/roberta.large/model.pt"
}

tokens() {
    emofair tokenize --manifest "$OUT/corpus" --ssl-dir "$SSL" --out "$OUT/tokens" --target iemocap
}

robertaemo() {
    mkdir -p "$OUT/run"
    train robertaemo --task emotion_prediction --data "$OUT/tokens/T_data" \
        --data-raw "$OUT/tokens/raw" --arch robertaEMO --criterion emotion_prediction_cri --all-in \
        --softmax-target-iemocap --ssl-dir "$SSL" --pooling mean --pooler-dropout 0.1 \
        --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --weight-decay 0.1 --lr 5e-4 \
        --lr-scheduler polynomial_decay --warmup-updates "$(updates 30)" --total-num-update "$(updates 200)" \
        --max-update "$(updates 200)" --batch-size 16 --best-checkpoint-metric loss --no-epoch-checkpoints \
        --ddp-backend legacy_ddp --save-dir "$OUT/run" --log-interval 20 --log-file "$OUT/run/train.log"
}

results() {
    fairseq-validate --user-dir emofair --data "$OUT/tokens/T_data" --path "$OUT/run/checkpoint_best.pt" \
        --task emotion_prediction --valid-subset test --batch-size 16 2>&1 |
        tee "$LOGS/validate.log" | grep "valid on 'test'" | cut -d'|' -f4-6
    emofair evaluate --checkpoint "$OUT/run/checkpoint_best.pt" --data "$OUT/tokens/T_data" \
        --data-raw "$OUT/tokens/raw" --split test --out "$OUT/run/test" > "$LOGS/evaluate.log"
    echo "      one clip:"
    emofair predict --checkpoint "$OUT/run/checkpoint_best.pt" --ssl-dir "$SSL" \
        --text "$(sed -n 2p "$OUT/corpus/test.meta.tsv" | cut -f2)" \
        "$(head -n 1 "$OUT/corpus/test.tsv")/$(sed -n 2p "$OUT/corpus/test.tsv" | cut -f1)" | sed 's/^/      /'
    emofair report "$OUT/run" --out "$OUT/report.md" --html
}

stage 1 "example corpus: $CLIPS spoken clips" "$OUT/corpus/.done" corpus
stage 2 "vq-wav2vec on the training audio" "$SSL/vq-wav2vec/vq-wav2vec_kmeans.pt" vq_wav2vec
stage 3 "Speech-BERT: masked LM on its codes" "$SSL/vq-wav2vec-Kmeans-Roberta/bert_kmeans.pt" speech_bert
stage 4 "RoBERTa: masked LM on the transcripts" "$SSL/roberta.large/model.pt" roberta
stage 5 "token files" "$OUT/tokens/T_data/label_file_test.csv" tokens
stage 6 "robertaEMO: joint fine-tuning" "$OUT/run/checkpoint_best.pt" robertaemo
stage 7 "test set, one clip, result page" "$OUT/report.md" results
echo "[8/8] all done in $(($(date +%s) - STARTED)) s: $OUT/report.md (and $OUT/report.html)"
