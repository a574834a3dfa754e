import { z } from 'zod'
import { openBackbone } from '../../model/backbone/backbone-folder.ts'
import { prefillWeights } from '../../model/runtime/prefill-weights.ts'
import { WeightFormat } from '../../shared/backbone.ts'
import { jsonLog, logThreshold } from '../../shared/log.ts'
import { NodeAddress } from '../../shared/node-address.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { TrainerId } from '../../shared/training/trainer-protocol.ts'
import { EdgeClient } from '../../training/trainer/edge-client.ts'
import { hasRequests } from '../../training/trainer/nodes-beside.ts'
import { runTrainer } from '../../training/trainer/trainer.ts'
import { requireBackbone } from '../local/local-backbone.ts'
import { stopRequest } from '../local/stop-request.ts'
import { servingEncoder } from '../tokenizer/serving-encoder.ts'
import { compareAnswers } from './compare-answers.ts'
import { takePriority } from './low-priority.ts'

/** A setting that is a whole number, and the words for any other. */
function whole(of: string, { min, max }: { min: number; max: number }) {
  const says = `${of} must be a whole number from ${min} to ${max}`
  return z.coerce.number(says).int(says).min(min, says).max(max, says)
}

/** A trainer's settings, by environment as a node's. */
export const TrainerSettings = z.object({
  QUARTET_TRAINER_ID: TrainerId,
  QUARTET_EDGE_URL: z.url('QUARTET_EDGE_URL must be the URL of the edge'),
  QUARTET_NODE_SECRET: z.string(
    'QUARTET_NODE_SECRET is missing: the secret that the edge shares with its nodes',
  ),
  /** A backbone's folder or slug. */
  QUARTET_BACKBONE: z
    .string()
    .min(1, '--backbone or QUARTET_BACKBONE is empty')
    .default('smollm2-135m-instruct'),
  /** The form of a slug's weights. */
  QUARTET_WEIGHTS: z
    .enum(WeightFormat.options, `QUARTET_WEIGHTS must be one of ${WeightFormat.options.join(', ')}`)
    .optional(),
  /** By which weights nodes read prompts; what a node on this machine takes when absent. */
  QUARTET_PREFILL_WEIGHTS: z.enum(prefillWeights, 'QUARTET_PREFILL_WEIGHTS must be stored or f32').optional(),
  /** Threads that compute; as many as cores when absent. */
  QUARTET_TRAINER_THREADS: whole('--threads or QUARTET_TRAINER_THREADS', { min: 1, max: 1_024 }).optional(),
  /** Nodes on the same machine, whose requests go first: a JSON array of objects with `id` and `url`. */
  QUARTET_TRAINER_BESIDE: z
    .string()
    .transform((text, context) => {
      try {
        return JSON.parse(text)
      } catch {
        context.addIssue('QUARTET_TRAINER_BESIDE must be a JSON array of nodes')
        return z.NEVER
      }
    })
    .pipe(z.array(NodeAddress, 'QUARTET_TRAINER_BESIDE must be a JSON array of {"id", "url"}'))
    .default([]),
  /** The process's priority: 0 is the usual one, 19 the lowest. */
  QUARTET_TRAINER_NICE: whole('QUARTET_TRAINER_NICE', { min: 0, max: 19 }).default(19),
  QUARTET_LOG_LEVEL: z.string().optional(),
})
export type TrainerSettings = z.infer<typeof TrainerSettings>

/** Trains until SIGTERM or SIGINT; a job under way is left to the next trainer with a checkpoint. */
export async function trainerProcess(settings: TrainerSettings): Promise<void> {
  // Serving comes first on a machine that does both.
  await takePriority(settings.QUARTET_TRAINER_NICE)
  const { QUARTET_BACKBONE: named, QUARTET_EDGE_URL: edge, QUARTET_TRAINER_ID: trainer } = settings
  const write = jsonLog(logThreshold(settings.QUARTET_LOG_LEVEL), (line) => process.stdout.write(`${line}\n`))
  const backbone = named.includes('/')
    ? await openBackbone(named)
    : await requireBackbone(named, settings.QUARTET_WEIGHTS)
  const encoder = await servingEncoder(backbone)
  using stop = stopRequest(() => process.exit(130))
  const key = nodeTokenKey(settings.QUARTET_NODE_SECRET)
  const client = new EdgeClient({ edge, key, trainer })
  const beside = settings.QUARTET_TRAINER_BESIDE
  write('info', 'trainer_started', { trainer, edge, backbone: backbone.manifest.slug })
  await runTrainer(client, {
    backbone,
    encoder,
    threads: settings.QUARTET_TRAINER_THREADS,
    isBusy: beside.length === 0 ? undefined : () => hasRequests(beside, key),
    answers: (plan, trained) =>
      compareAnswers(backbone, { plan, trained, prefillWeights: settings.QUARTET_PREFILL_WEIGHTS }),
    log: (event, fields) => write('info', event, fields),
    signal: stop.signal,
  })
}

if (import.meta.main) await trainerProcess(TrainerSettings.parse(process.env))
