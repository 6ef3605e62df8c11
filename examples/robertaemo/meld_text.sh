#!/usr/bin/env bash
# Emotion from the text of MELD, with a small RoBERTa that has seen nothing but MELD's training text.
#
#   bash examples/robertaemo/meld_text.sh MELD_FOLDER [OUT]      (default OUT: meld_out)
#
# MELD_FOLDER holds train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv; no audio is needed. A stage that is done is not
# done again. SEEDS may be set (default: 1 2 3).
set -euo pipefail
MELD=$(cd "${1:?usage: meld_text.sh MELD_FOLDER [OUT]}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
OUT=${2:-meld_out}
SEEDS=${SEEDS:-1 2 3}
export PYTHONWARNINGS=ignore
SSL=$OUT/pretrained_ssl/roberta.base
mkdir -p "$OUT/logs" "$SSL"

done_before() { [ -e "$1" ] && echo "  done before"; }

echo "[1/5] corpus"
done_before "$OUT/corpus/test.tsv" || emofair prepare meld --root "$MELD" --text-only --out "$OUT/corpus"

echo "[2/5] pieces of the training text"
done_before "$OUT/lm/bin/dict.txt" || {
    python examples/robertaemo/lm_data.py text --corpus "$OUT/corpus" --vocabulary 4000 --out "$OUT/lm"
    fairseq-preprocess --only-source --trainpref "$OUT/lm/train.txt" --validpref "$OUT/lm/valid.txt" \
        --srcdict "$OUT/lm/dict.txt" --destdir "$OUT/lm/bin" --workers 1 > "$OUT/logs/preprocess.log" 2>&1
}

echo "[3/5] RoBERTa by masked LM (log: $OUT/logs/masked_lm.log)"
done_before "$SSL/model.pt" || {
    fairseq-train "$OUT/lm/bin" --user-dir emofair --task masked_lm --arch roberta_base --criterion masked_lm \
        --encoder-layers 4 --encoder-embed-dim 128 --encoder-ffn-embed-dim 512 --encoder-attention-heads 4 \
        --sample-break-mode eos --tokens-per-sample 512 --max-positions 512 \
        --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.01 --lr 1e-3 --lr-scheduler polynomial_decay \
        --warmup-updates 300 --total-num-update 3000 --max-update 3000 --batch-size 64 --num-workers 0 --data-buffer-size 0 \
        --required-batch-size-multiple 1 --no-epoch-checkpoints --save-dir "$OUT/lm/run" --log-format simple \
        > "$OUT/logs/masked_lm.log" 2>&1
    cp "$OUT/lm/dict.txt" "$OUT/lm/sentencepiece.bpe.model" "$SSL/"
    cp "$OUT/lm/run/checkpoint_best.pt" "$SSL/model.pt"
}

echo "[4/5] token files"
done_before "$OUT/tokens/T_data/label_file_test.csv" ||
    emofair tokenize --manifest "$OUT/corpus" --text-roberta-path "$SSL" --mode text --target meld --out "$OUT/tokens"

echo "[5/5] fine-tuning on seven emotions, seeds: $SEEDS"
for seed in $SEEDS; do
    run=$OUT/runs/seed$seed
    mkdir -p "$run"
    done_before "$run/test/metrics.json" || {
        fairseq-train --user-dir emofair --task emotion_prediction --data "$OUT/tokens/T_data" --data-raw "$OUT/tokens/raw" \
            --arch robertaEMO --criterion emotion_prediction_cri --t-only --text-roberta-path "$SSL" --softmax-target-meld \
            --pooling mean --pooler-dropout 0.3 --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 \
            --weight-decay 0.1 --lr 3e-4 --lr-scheduler polynomial_decay --warmup-updates 100 --total-num-update 1560 \
            --max-update 1560 --batch-size 32 --num-workers 0 --seed "$seed" --no-epoch-checkpoints \
            --best-checkpoint-metric f1 --maximize-best-checkpoint-metric --ddp-backend legacy_ddp --save-dir "$run" \
            --log-format json --log-file "$run/train.log" > "$OUT/logs/seed$seed.log" 2>&1
        emofair evaluate --checkpoint "$run/checkpoint_best.pt" --data "$OUT/tokens/T_data" --split test --out "$run/test" \
            > /dev/null
    }
done
emofair report "$OUT/runs" --out "$OUT/report.md" --title "MELD, text only" --html
