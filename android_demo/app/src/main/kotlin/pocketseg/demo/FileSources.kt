package pocketseg.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import android.media.ExifInterface
import android.media.MediaCodec
import android.media.MediaCodecInfo
import android.media.MediaExtractor
import android.media.MediaFormat
import android.net.Uri
import pocketseg.live.Background
import pocketseg.live.FrameSource
import pocketseg.live.LargePhoto
import pocketseg.live.Latest
import pocketseg.live.Picture
import pocketseg.model.Problem
import pocketseg.model.Trouble
import pocketseg.pixels.Grid
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.Turn
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import java.io.IOException

private class StoredPhoto(val bitmap: Bitmap, val orientation: Orientation) {
    val size get() = Size(bitmap.width, bitmap.height)

    fun pixels() = IntArray(size.pixels).also {
        bitmap.getPixels(it, 0, size.width, 0, 0, size.width, size.height)
        bitmap.recycle()
    }
}

/** Decodes a photo to about [side] pixels, not yet turned. Throws [IOException] for what is none. */
private fun readPhoto(context: Context, uri: Uri, side: Int): StoredPhoto {
    fun <T> read(action: (java.io.InputStream) -> T): T =
        (context.contentResolver.openInputStream(uri) ?: throw IOException("the file is gone")).use(action)
    val options = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    read { BitmapFactory.decodeStream(it, null, options) }
    options.inSampleSize = maxOf(1, maxOf(options.outWidth, options.outHeight) / side)
    options.inJustDecodeBounds = false
    options.inMutable = true
    val bitmap = read { BitmapFactory.decodeStream(it, null, options) } ?: throw IOException("it is no picture")
    val tag = read { ExifInterface(it).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1) }
    return StoredPhoto(bitmap, Orientation.ofExif(tag))
}

/** An upright background picture. Throws [IOException] for what is none. */
fun readBackground(context: Context, uri: Uri): Background {
    val photo = readPhoto(context, uri, WORKING_SIDE)
    val stored = photo.size
    val size = photo.orientation.upright(stored)
    val pixels = IntArray(size.pixels)
    Grid(placement(stored, photo.orientation, null, size), stored, size).sampleArgb(photo.pixels(), pixels)
    return Background(pixels, size)
}

/** The photo upright and in its full size; its pixels lie outside of Java's heap. Throws [IOException]. */
class BitmapPhoto(context: Context, uri: Uri) : LargePhoto {
    var bitmap: Bitmap
        private set

    init {
        val photo = readPhoto(context, uri, MAX_SIDE)
        val matrix = Matrix()
        matrix.postRotate(photo.orientation.turn.degrees.toFloat())
        if (photo.orientation.mirror) matrix.postScale(-1f, 1f)
        val turned = Bitmap.createBitmap(photo.bitmap, 0, 0, photo.size.width, photo.size.height, matrix, false)
        bitmap = if (turned.isMutable) turned else turned.copy(Bitmap.Config.ARGB_8888, true)
        bitmap.setHasAlpha(true)
    }

    override val size = Size(bitmap.width, bitmap.height)

    override fun read(top: Int, rows: Int, pixels: IntArray) = bitmap.getPixels(pixels, 0, size.width, 0, top, size.width, rows)

    override fun write(top: Int, rows: Int, pixels: IntArray) = bitmap.setPixels(pixels, 0, size.width, 0, top, size.width, rows)

    private companion object {
        const val MAX_SIDE = 8192
    }
}

private const val WORKING_SIDE = 1600

/** A photo from the gallery, delivered once. */
class PhotoSource(private val context: Context, private val uri: Uri) : FrameSource {
    @Volatile private var stopped = false

    override fun start(frames: Latest, failed: (Trouble) -> Unit) = Thread({
        try {
            val photo = readPhoto(context, uri, WORKING_SIDE)
            val (size, orientation) = photo.size to photo.orientation
            frames.back.photo(photo.pixels(), size, orientation)
            if (!stopped) frames.publish()
        } catch (error: IOException) {
            failed(Trouble(Problem.PHOTO_FAILED, error))
        } catch (error: SecurityException) {
            failed(Trouble(Problem.FILE_GONE, error))
        } catch (error: RuntimeException) { // a storage provider may throw anything
            failed(Trouble(Problem.PHOTO_FAILED, error))
        } catch (error: OutOfMemoryError) {
            failed(Trouble(Problem.NO_MEMORY))
        }
    }, "photo").start()

    override fun stop() {
        stopped = true
    }
}

/** A video's picture track, decoded frame by frame. Made, used and released on one thread; throws [IOException]. */
class VideoDecoder(context: Context, uri: Uri) {
    val extractor = MediaExtractor()
    private var codec: MediaCodec? = null
    private val info = MediaCodec.BufferInfo()
    private var layout: YuvLayout? = null
    private var fed = false
    private var ended = false
    private var orientation = Orientation()

    /** Of the whole video, in microseconds; 0 when the file does not say. */
    var duration = 0L
        private set

    init {
        try {
            extractor.setDataSource(context, uri, null)
            val track = (0 until extractor.trackCount).firstOrNull {
                extractor.getTrackFormat(it).getString(MediaFormat.KEY_MIME).orEmpty().startsWith("video/")
            } ?: throw IOException("it holds no video")
            extractor.selectTrack(track)
            val format = extractor.getTrackFormat(track)
            if (format.containsKey(MediaFormat.KEY_DURATION)) duration = format.getLong(MediaFormat.KEY_DURATION)
            if (format.containsKey(MediaFormat.KEY_ROTATION)) orientation = Orientation(Turn.of(format.getInteger(MediaFormat.KEY_ROTATION)))
            format.setInteger(MediaFormat.KEY_COLOR_FORMAT, MediaCodecInfo.CodecCapabilities.COLOR_FormatYUV420Flexible)
            val codec = MediaCodec.createDecoderByType(format.getString(MediaFormat.KEY_MIME)!!)
            this.codec = codec
            codec.configure(format, null, null, 0)
            codec.start()
        } catch (error: RuntimeException) { // IllegalArgumentException, IllegalStateException, CodecException
            release()
            throw error as? SecurityException ?: IOException(error.message ?: error.javaClass.simpleName)
        } catch (error: IOException) {
            release()
            throw error
        }
    }

    /**
     * Decode the next frame into [picture], after [due] was told its time in microseconds; false at the end. [stopped] is
     * asked while waiting.
     */
    fun next(picture: Picture, stopped: () -> Boolean, due: (microseconds: Long) -> Unit): Boolean =
        try {
            step(picture, stopped, due)
        } catch (error: RuntimeException) {
            throw IOException(error.message ?: error.javaClass.simpleName)
        }

    private fun step(picture: Picture, stopped: () -> Boolean, due: (Long) -> Unit): Boolean {
        val codec = codec!!
        while (!stopped() && !ended) {
            val free = if (fed) -1 else codec.dequeueInputBuffer(0)
            if (free >= 0) {
                val bytes = extractor.readSampleData(codec.getInputBuffer(free)!!, 0)
                fed = bytes < 0
                codec.queueInputBuffer(free, 0, maxOf(bytes, 0), maxOf(extractor.sampleTime, 0), if (fed) MediaCodec.BUFFER_FLAG_END_OF_STREAM else 0)
                extractor.advance()
            }
            val done = codec.dequeueOutputBuffer(info, 10_000)
            if (done < 0) continue
            ended = info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0
            val image = if (info.size > 0) codec.getOutputImage(done) else null
            if (image != null) {
                due(info.presentationTimeUs)
                image.use { layout = picture.copy(it, layout, orientation, colours(codec.outputFormat)) }
            }
            codec.releaseOutputBuffer(done, false)
            if (image != null) return true
        }
        return false
    }

    fun rewind() {
        extractor.seekTo(0, MediaExtractor.SEEK_TO_CLOSEST_SYNC)
        codec!!.flush()
        fed = false
        ended = false
    }

    fun release() {
        codec?.release()
        extractor.release()
    }

    private fun colours(format: MediaFormat): YuvColours {
        val full = format.containsKey(MediaFormat.KEY_COLOR_RANGE) && format.getInteger(MediaFormat.KEY_COLOR_RANGE) == MediaFormat.COLOR_RANGE_FULL
        val small = if (format.containsKey(MediaFormat.KEY_COLOR_STANDARD)) format.getInteger(MediaFormat.KEY_COLOR_STANDARD) != MediaFormat.COLOR_STANDARD_BT709
        else format.getInteger(MediaFormat.KEY_HEIGHT) < 720
        return if (full) YuvColours.FULL_601 else if (small) YuvColours.LIMITED_601 else YuvColours.LIMITED_709
    }
}

/** A video file, decoded at its own speed, over and over. */
class VideoSource(private val context: Context, private val uri: Uri) : FrameSource {
    private var thread: Thread? = null
    @Volatile private var stopped = false

    override fun start(frames: Latest, failed: (Trouble) -> Unit) {
        thread = Thread({
            var decoder: VideoDecoder? = null
            try {
                decoder = VideoDecoder(context, uri)
                while (!stopped) {
                    val started = System.nanoTime()
                    fun due(microseconds: Long) {
                        val early = started + microseconds * 1000 - System.nanoTime()
                        if (early > 0) Thread.sleep(early / 1_000_000)
                    }
                    while (decoder.next(frames.back, { stopped }, ::due)) if (!stopped) frames.publish()
                    decoder.rewind()
                }
            } catch (_: InterruptedException) { // stop()
            } catch (error: IOException) {
                failed(Trouble(Problem.VIDEO_FAILED, error))
            } catch (error: SecurityException) {
                failed(Trouble(Problem.FILE_GONE, error))
            } catch (error: RuntimeException) { // a decoder may throw anything
                failed(Trouble(Problem.VIDEO_FAILED, error))
            } finally {
                decoder?.release()
            }
        }, "video").apply { start() }
    }

    override fun stop() {
        stopped = true
        thread?.interrupt()
    }
}
