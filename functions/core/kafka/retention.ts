/** Less would expire events that waited out a day without Kafka. */
const RETENTION_MS_SHORT = 86_400_000;

/**
 * Why a topic's `retention.ms` may lose messages, as a sentence; null when it is long enough. A
 * message carries the time of the change, so Kafka may expire an old one on arrival.
 *
 * @param retentionMs -1 keeps all
 */
export function retentionWarning(where: string, retentionMs: number): string | null {
  if (retentionMs === -1 || retentionMs >= RETENTION_MS_SHORT) return null;
  return (
    `${where} is ${retentionMs} ms: messages carry the time of the change, so one that waited ` +
    `longer in the queue expires on arrival. Keep at least ${RETENTION_MS_SHORT}, or -1.`
  );
}
