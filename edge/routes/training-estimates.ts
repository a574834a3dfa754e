import type { FileObject, TokenCount, TrainingEstimate } from '../../shared/api/files.ts'
import { Hyperparameters } from '../../shared/api/fine-tuning.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import type { TenantId } from '../../shared/ids.ts'
import { type Counted, TokenCounts } from '../files/token-counts.ts'
import { estimateTraining, newAdapter } from '../fine-tuning/estimate.ts'
import type { JobSpec } from '../fine-tuning/job-spec.ts'
import type { readerOf } from '../http/reader.ts'
import { loadCodec } from '../tenants/load-codec.ts'
import { listBackbones, readAdapters, readBackbone } from '../tenants/read.ts'

type Reader = ReturnType<typeof readerOf>

/** Backbones that a file's tokens are counted for: the first, by name. */
const maxCounted = 4

/** Counters for what is served here. A backbone whose tokenizer cannot be read now is left out. */
export async function openTokenCounts(reader: Reader): Promise<TokenCounts> {
  const backbones = await listBackbones(reader)
  const opened = await Promise.all(
    backbones.slice(0, maxCounted).map(async (record) => {
      const codec = await loadCodec(record, reader.platform).catch(() => undefined)
      const { backbone } = record
      return codec === undefined ? [] : [{ backbone, codec, promptRows: newAdapter(backbone)?.rows ?? 0 }]
    }),
  )
  return new TokenCounts(opened.flat())
}

/** The estimates of a job with `auto` for everything, on each backbone. */
export function withEstimates(counts: readonly Counted[], reader: Reader): Promise<TokenCount[]> {
  return Promise.all(
    counts.map(async (count) => {
      const record = await readBackbone(count.backbone, reader)
      const estimate =
        record === undefined
          ? null
          : estimateTraining({
              backbone: record.backbone,
              count,
              hyperparameters: Hyperparameters.parse({}),
              hasValidationFile: false,
              tokensPerSecond: await speedOf(record.backbone, reader),
            })
      return { ...count, estimate }
    }),
  )
}

/** The estimate of a job; null where the tokens of its file were not counted for its backbone. */
export async function estimateOfJob(
  { from, hyperparameters, validationFile }: Pick<JobSpec, 'from' | 'hyperparameters' | 'validationFile'>,
  {
    backbone,
    file,
    reader,
    tenant,
  }: {
    readonly backbone: EdgeBackbone
    readonly file: FileObject
    readonly tenant: TenantId
    readonly reader: Reader
  },
): Promise<TrainingEstimate | null> {
  const count = file.token_counts?.find((each) => each.backbone === backbone.slug)
  if (count === undefined) return null
  const goesOnFrom =
    from === null ? undefined : (await readAdapters(tenant, reader)).find(({ digest }) => digest === from)
  return estimateTraining({
    backbone,
    count,
    hyperparameters,
    hasValidationFile: validationFile !== null,
    tokensPerSecond: await speedOf(backbone, reader),
    adapterBytes: goesOnFrom?.bytes,
  })
}

/** The queue is asked for a hint alone: an upload does not fail for it. */
const speedOf = ({ digest }: EdgeBackbone, { platform }: Reader): Promise<number | undefined> =>
  platform
    .trainingQueue()
    .speedOf(digest)
    .catch(() => undefined)
