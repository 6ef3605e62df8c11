#!/usr/bin/env bash
# EMO-DB, speaker-out: does pre-training on the fold's own training clips help a small wav2vec 2.0 that starts from nothing?
#
#   bash examples/ft_w2v2/emodb.sh EMODB_FOLDER [OUT]        (default: emodb_out)
#
# Five folds: two speakers test, one selects, seven train. For every fold, from its training clips alone:
#   masked       masked prediction of clusters of MFCCs (HuBERT's first iteration, by P-TAPT's third stage)
#   contrastive  wav2vec 2.0's own objective (TAPT's), fairseq's task
# Then the same fine-tuning from each, and from random weights (none), with every seed; and an SVM on statistics of MFCCs
# as the floor. A stage that is done is not done again; delete OUT to start over. JOBS, FOLDS, SEEDS and SYSTEMS may be set.
set -euo pipefail

EMODB=$1
export OUT=${2:-emodb_out}
JOBS=${JOBS:-2}
FOLDS=${FOLDS:-1 2 3 4 5}
SEEDS=${SEEDS:-1 2}
SYSTEMS=${SYSTEMS:-none masked contrastive}
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ -e "$OUT/data/folds.json" ] ||
    emofair prepare emodb --root "$EMODB" --speakers-per-fold 2 --valid speaker --out "$OUT/data" --check

ADAM='--optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 --num-workers 0 --data-buffer-size 0
    --required-batch-size-multiple 1 --no-epoch-checkpoints --log-format json --log-interval 25
    --lr-scheduler warmup_hold_linear --warmup-ratio 0.1'
export ADAM

pretrain_masked() {
    local fold=$OUT/data/fold$1 run=$OUT/masked/fold$1
    emofair features --features mfcc --manifest "$fold" --split train --out "$run/mfcc"
    emofair kmeans --features "$run/mfcc" --split train -k 50,200 --seed 1 --out "$run/km"
    emofair units --features "$run/mfcc" --split train --kmeans "$run/km/km50.npz,$run/km/km200.npz" --out "$run/units"
    emofair train --data "$fold" --label-dir "$run/units" --num-clusters 50,200 --task pseudo_label_pretraining \
        --arch wav2vec2_pseudo_label --ssl-random small --train-cnn --train-projection --criterion pseudo_label \
        $ADAM --lr 1e-3 --max-update 600 --batch-size 24 --max-seconds 2 --disable-validation --seed 1 --save-dir "$run"
}

pretrain_contrastive() {
    local fold=$OUT/data/fold$1 run=$OUT/contrastive/fold$1
    fairseq-train "$fold" --user-dir emofair --task audio_pretraining --arch wav2vec2 --criterion wav2vec --infonce \
        --conv-feature-layers "[(32,10,5),(48,3,2),(64,3,2),(96,3,2),(128,3,2),(192,2,2),(192,2,2)]" \
        --encoder-layers 4 --encoder-embed-dim 192 --encoder-ffn-embed-dim 768 --encoder-attention-heads 4 \
        --conv-pos 32 --conv-pos-groups 16 --encoder-layerdrop 0 --dropout-input 0.1 --dropout-features 0.1 \
        --quantize-targets --final-dim 64 --latent-vars 80 --latent-groups 2 --latent-temp "(2.0,0.5,0.998)" \
        --num-negatives 50 --mask-prob 0.65 --mask-length 10 --feature-grad-mult 0.3 --loss-weights "[0.1, 10.0]" \
        --enable-padding --max-sample-size 32000 --min-sample-size 16000 \
        $ADAM --lr 1e-3 --max-update 600 --batch-size 24 --disable-validation --seed 1 --save-dir "$run"
}

finetune() {
    local system=$1 fold=$2 seed=$3 start
    local run=$OUT/$system/fold$fold/seed$seed
    if [ "$system" = none ]; then start="--ssl-random small"; else start="--w2v-path $OUT/$system/fold$fold/checkpoint_last.pt"; fi
    emofair train --data "$OUT/data/fold$fold" --task speech_emotion --arch wav2vec2_ser $start \
        --criterion emotion_classification --pooling attentive_statistics --train-cnn --train-projection \
        --mask-channel-length 16 --max-seconds 2 $ADAM --lr 5e-4 --max-update 300 --batch-size 16 --validate-interval 2 \
        --best-checkpoint-metric uar --maximize-best-checkpoint-metric --seed "$seed" --save-dir "$run" \
        --log-file "$run.log"
    mv "$run.log" "$run/train.log"
    emofair evaluate --checkpoint "$run/checkpoint_best.pt" --data "$OUT/data/fold$fold" --split test --name "$system" \
        --fold "$fold" --out "$run/test"
}

# once PROOF COMMAND...: run COMMAND with its output in PROOF.out, unless PROOF is there.
once() {
    local proof=$1
    shift
    [ -e "$proof" ] && return
    mkdir -p "$(dirname "$proof")"
    # A shell of its own: inside a condition, bash would go on after a command that fails.
    if bash -euo pipefail -c '"$@"' _ "$@" > "$proof.out" 2>&1; then touch "$proof"; else
        echo "$* failed: $proof.out" >&2
        return 1
    fi
}
floor() {
    python examples/svm_floor.py --data "$OUT/data/fold$1" --out "$OUT/svm/fold$1/test"
}
export -f pretrain_masked pretrain_contrastive finetune floor once

for fold in $FOLDS; do once "$OUT/svm/fold$fold.scored" floor "$fold"; done

for system in $SYSTEMS; do
    [ "$system" = none ] || for fold in $FOLDS; do echo "$system $fold"; done
done | xargs -r -P "$JOBS" -L 1 bash -euo pipefail -c 'once "$OUT/$0/fold$1.pretrained" "pretrain_$0" "$1"'
for seed in $SEEDS; do
    for fold in $FOLDS; do
        for system in $SYSTEMS; do echo "$system $fold $seed"; done
    done
done | xargs -r -P "$JOBS" -L 1 bash -euo pipefail -c 'once "$OUT/$0/fold$1/seed$2.scored" finetune "$0" "$1" "$2"'

compare=()
case " $SYSTEMS " in *" none "*) compare=(--compare none) ;; esac
runs=()
for fold in $FOLDS; do runs+=("$OUT/svm/fold$fold"); done
for system in $SYSTEMS; do
    for fold in $FOLDS; do
        for seed in $SEEDS; do runs+=("$OUT/$system/fold$fold/seed$seed"); done
    done
done
emofair report "${runs[@]}" --out "$OUT/RESULTS.md" --group-by name --summary-dir "$OUT" "${compare[@]}" \
    --title "EMO-DB, speaker-out: a small wav2vec 2.0 from scratch"
