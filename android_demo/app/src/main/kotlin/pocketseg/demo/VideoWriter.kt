package pocketseg.demo

import android.content.Context
import android.media.Image
import android.media.MediaCodec
import android.media.MediaCodecInfo
import android.media.MediaExtractor
import android.media.MediaFormat
import android.media.MediaMuxer
import android.net.Uri
import pocketseg.live.Background
import pocketseg.live.Latest
import pocketseg.live.Look
import pocketseg.live.Meter
import pocketseg.live.Pipeline
import pocketseg.model.Segmenter
import pocketseg.pixels.Grid
import pocketseg.pixels.Size
import pocketseg.pixels.YuvSink
import pocketseg.pixels.sampleArgb
import pocketseg.pixels.toYuv
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer

/** Writes pictures as an H.264 video (MP4). Every method throws [IOException]; [release] whatever happens. */
class VideoWriter(file: File, picture: Size, private val sound: Sound? = null) {
    private val size = Size(picture.width and 1.inv(), picture.height and 1.inv()) // chroma has half of each
    private val muxer = MediaMuxer(file.path, MediaMuxer.OutputFormat.MUXER_OUTPUT_MPEG_4)
    private val info = MediaCodec.BufferInfo()
    private var codec: MediaCodec? = null
    private var track = -1
    private var last = -1L

    init {
        try {
            guarded(::open)
        } catch (error: IOException) {
            release()
            throw error
        }
    }

    private fun open() {
        val format = MediaFormat.createVideoFormat(MIME, size.width, size.height)
        format.setInteger(MediaFormat.KEY_COLOR_FORMAT, MediaCodecInfo.CodecCapabilities.COLOR_FormatYUV420Flexible)
        // What toYuv writes; players take large videos that do not say for BT.709.
        format.setInteger(MediaFormat.KEY_COLOR_STANDARD, MediaFormat.COLOR_STANDARD_BT601_PAL)
        format.setInteger(MediaFormat.KEY_COLOR_RANGE, MediaFormat.COLOR_RANGE_LIMITED)
        format.setInteger(MediaFormat.KEY_COLOR_TRANSFER, MediaFormat.COLOR_TRANSFER_SDR_VIDEO)
        format.setInteger(MediaFormat.KEY_BIT_RATE, maxOf(1_000_000, size.pixels * 6))
        format.setInteger(MediaFormat.KEY_FRAME_RATE, 30)
        format.setInteger(MediaFormat.KEY_I_FRAME_INTERVAL, 1)
        codec = MediaCodec.createEncoderByType(MIME).apply {
            configure(format, null, null, MediaCodec.CONFIGURE_FLAG_ENCODE)
            start()
        }
    }

    /** [pixels] of the picture's size. Waits for the encoder at most [patience] microseconds; false when it is not ready. */
    fun add(pixels: IntArray, width: Int, microseconds: Long, patience: Long): Boolean = guarded {
        val codec = codec!!
        val free = codec.dequeueInputBuffer(patience)
        if (free >= 0) {
            val image = codec.getInputImage(free) ?: throw IOException("the encoder takes no pictures")
            val (y, u, v) = image.planes.map(::sink)
            toYuv(pixels, width, size, y, u, v)
            last = maxOf(last + 1, microseconds) // a muxer takes no two frames of one time
            codec.queueInputBuffer(free, 0, size.pixels * 3 / 2, last, 0)
        }
        drain(0)
        free >= 0
    }

    fun finish() = guarded {
        val codec = codec!!
        var patience = PATIENCE
        var free = -1
        while (free < 0) {
            if (patience-- == 0) throw IOException("the encoder takes no end")
            free = codec.dequeueInputBuffer(WAIT)
            drain(0)
        }
        codec.queueInputBuffer(free, 0, 0, last + 1, MediaCodec.BUFFER_FLAG_END_OF_STREAM)
        while (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM == 0) {
            if (patience-- <= 0) throw IOException("the encoder comes to no end")
            drain(WAIT)
        }
        if (track >= 0) sound?.copy(muxer)
        if (track >= 0) muxer.stop()
    }

    fun release() {
        codec?.release()
        sound?.release()
        try {
            muxer.release()
        } catch (_: IllegalStateException) { // nothing was written
        }
    }

    private fun sink(plane: Image.Plane): YuvSink {
        val buffer: ByteBuffer = plane.buffer
        val (rows, pixels) = plane.rowStride to plane.pixelStride
        return YuvSink { x, y, value -> buffer.put(y * rows + x * pixels, value.toByte()) }
    }

    private fun drain(patience: Long) {
        val codec = codec!!
        while (true) {
            val done = codec.dequeueOutputBuffer(info, patience)
            if (done == MediaCodec.INFO_OUTPUT_FORMAT_CHANGED) {
                track = muxer.addTrack(codec.outputFormat)
                sound?.addTo(muxer)
                muxer.start()
            }
            if (done == MediaCodec.INFO_TRY_AGAIN_LATER) return
            if (done < 0) continue
            val configuration = info.flags and MediaCodec.BUFFER_FLAG_CODEC_CONFIG != 0 // the muxer has it from the format
            if (!configuration && info.size > 0) muxer.writeSampleData(track, codec.getOutputBuffer(done)!!, info)
            codec.releaseOutputBuffer(done, false)
            if (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0) return
        }
    }

    private fun <T> guarded(action: () -> T): T =
        try {
            action()
        } catch (error: RuntimeException) { // IllegalArgumentException, IllegalStateException, CodecException
            throw IOException(error.message ?: error.javaClass.simpleName)
        }

    private companion object {
        const val MIME = MediaFormat.MIMETYPE_VIDEO_AVC
        const val WAIT = 10_000L // microseconds
        const val PATIENCE = 1000 // times that
    }
}

/** A video's sound, taken over as it is. Null from [of] when there is none that an MP4 may hold. */
class Sound private constructor(private val extractor: MediaExtractor, private val format: MediaFormat) {
    private var track = -1

    fun addTo(muxer: MediaMuxer) {
        track = muxer.addTrack(format)
    }

    fun copy(muxer: MediaMuxer) {
        val buffer = ByteBuffer.allocateDirect(1 shl 18)
        val info = MediaCodec.BufferInfo()
        while (true) {
            val size = extractor.readSampleData(buffer, 0)
            if (size < 0) return
            info.set(0, size, extractor.sampleTime, MediaCodec.BUFFER_FLAG_KEY_FRAME)
            muxer.writeSampleData(track, buffer, info)
            extractor.advance()
        }
    }

    fun release() = extractor.release()

    companion object {
        fun of(context: Context, uri: Uri): Sound? {
            val extractor = MediaExtractor()
            try {
                extractor.setDataSource(context, uri, null)
            } catch (error: IOException) {
                extractor.release()
                throw error
            }
            for (track in 0 until extractor.trackCount) {
                val format = extractor.getTrackFormat(track)
                if (format.getString(MediaFormat.KEY_MIME) in setOf(MediaFormat.MIMETYPE_AUDIO_AAC, MediaFormat.MIMETYPE_AUDIO_AMR_NB)) {
                    extractor.selectTrack(track)
                    return Sound(extractor, format)
                }
            }
            extractor.release()
            return null
        }
    }
}

/**
 * A running recording of what is shown; [add] on the inference thread, [finish] on any other. Both throw [IOException];
 * then it has ended and there is no file.
 */
class Recording(val file: File) {
    private var writer: VideoWriter? = null
    private var size = Size(0, 0)
    private var started = 0L
    private var ended = false
    private val other by lazy { IntArray(size.pixels) }
    private var grid: Grid? = null

    /** A frame for which the encoder is not ready is left out. A video keeps its shape: later ones are cut to that of the first. */
    @Synchronized
    fun add(pixels: IntArray, size: Size, nanoseconds: Long) {
        if (ended) return
        wholeOrNothing {
            val writer = writer ?: VideoWriter(file, size).also {
                writer = it
                this.size = size
                started = nanoseconds
            }
            writer.add(shaped(pixels, size), this.size.width, (nanoseconds - started) / 1000, patience = 0)
        }
    }

    private fun shaped(pixels: IntArray, size: Size): IntArray {
        if (size == this.size) return pixels
        val grid = grid?.takeIf { it.source == size } ?: Grid.cover(size, this.size).also { grid = it }
        grid.sampleArgb(pixels, other)
        return other
    }

    /** False when there was no picture. */
    @Synchronized
    fun finish(): Boolean {
        ended = true
        val writer = writer ?: return false
        wholeOrNothing(writer::finish)
        writer.release()
        return true
    }

    private fun wholeOrNothing(step: () -> Unit) {
        var done = false
        try {
            step()
            done = true
        } finally {
            if (!done) {
                ended = true
                writer?.release()
                writer = null
                file.delete()
            }
        }
    }
}

/**
 * The whole video at [uri] with the effect, its sound kept, into [file]; false when [cancelled] became true. Opens and
 * closes the models here. [progress] gets percents. Throws [IOException], and what [open] throws; only a whole video is
 * left in [file].
 */
fun convertVideo(
    context: Context, uri: Uri, file: File, look: Look, background: Background?, open: () -> List<Segmenter>,
    progress: (Int) -> Unit, cancelled: () -> Boolean,
): Boolean {
    var decoder: VideoDecoder? = null
    var writer: VideoWriter? = null
    var segmenters = emptyList<Segmenter>()
    var complete = false
    try {
        segmenters = open()
        decoder = VideoDecoder(context, uri)
        val pipeline = Pipeline(segmenters, Meter())
        val picture = Latest {}.back
        val whole = look.copy(fillView = false)
        var time = 0L
        while (decoder.next(picture, cancelled) { time = it }) {
            pipeline.render(picture, whole, background, 1.0)
            val (pixels, size) = pipeline.large(picture, whole)
            if (writer == null) writer = VideoWriter(file, size, Sound.of(context, uri))
            while (!cancelled() && !writer.add(pixels, size.width, time, patience = 10_000)) Unit
            if (decoder.duration > 0) progress((100 * time / decoder.duration).toInt().coerceIn(0, 100))
        }
        if (cancelled()) return false
        (writer ?: throw IOException("it holds no pictures")).finish()
        complete = true
        return true
    } finally {
        writer?.release()
        decoder?.release()
        segmenters.forEach { it.close() }
        if (!complete) file.delete()
    }
}
