import { QuartetError } from '../../shared/errors.ts'

/** A model file that cannot be used, and why. */
export function invalidBackbone(file: string, why: string, cause?: unknown): QuartetError {
  return new QuartetError('backbone_invalid', `${file}: ${why}`, { cause })
}
